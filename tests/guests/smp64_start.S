/* smp64_start.S - every vCPU starts here, as tests/bench/README.md says: rdi = its number, rsi = how many, rdx = command line. */
        .section .text.start, "ax"
        .globl _start
_start:
        cli
        cld
        mov     %rdi, %r12
        mov     %rsi, %r13
        mov     %rdx, %r14
        test    %r12, %r12
        jnz     wait
        mov     $__bss_start, %rdi
        mov     $__bss_end, %rcx
        sub     %rdi, %rcx
        shr     $3, %rcx
        xor     %eax, %eax
        rep stosq
        movl    $1, bss_ready
        jmp     go
wait:
        pause
        cmpl    $0, bss_ready
        je      wait
go:
        lea     1(%r12), %rax
        shl     $14, %rax               /* 16 KiB of stack each: STACK_SHIFT */
        lea     stacks(%rax), %rsp
        mov     %r12, %rdi
        mov     %r13, %rsi
        mov     %r14, %rdx
        call    cpu_main
1:      cli
        hlt
        jmp     1b

        .data
        .balign 64
bss_ready: .long 0

/* One access: rdi = address, rsi = value to write. Out: rax = what was read, rdx = 0; after a fault smp_trap() has
 * made rdx = (error code << 8 | vector) and goes on at *_done. */
        .text
        .globl  smp_read, smp_read_at, smp_read_done, smp_write, smp_write_at, smp_write_done
smp_read:
        xor     %edx, %edx
smp_read_at:
        mov     (%rdi), %rax
smp_read_done:
        ret
smp_write:
        xor     %edx, %edx
smp_write_at:
        mov     %rsi, (%rdi)
smp_write_done:
        ret

        .macro STUB n, haserr
stub_\n:
        .if \haserr == 0
        push    $0
        .endif
        push    $\n
        jmp     common
        .balign 16
        .endm

        .altmacro
        .balign 16
        .globl  smp_stubs
smp_stubs:
        .set    i, 0
        .rept   32
        .if i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21
        STUB    %i, 1
        .else
        STUB    %i, 0
        .endif
        .set    i, i+1
        .endr

common:                                 /* rax and rdx are what the trap may change: struct smp_frame */
        push    %rax
        push    %rdx
        mov     %rsp, %rax
        push    %rcx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rbp
        mov     %rsp, %rbp
        mov     %rax, %rdi
        and     $-16, %rsp
        cld
        call    smp_trap
        mov     %rbp, %rsp
        pop     %rbp
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rcx
        pop     %rdx
        pop     %rax
        add     $16, %rsp
        iretq

        .bss
        .balign 4096
stacks: .skip   64 << 14
        .section .note.GNU-stack, "", @progbits
