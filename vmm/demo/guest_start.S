/* guest_start.S - first instruction, and the exception and interrupt stubs. In: as vmm/load_guest.h says for flat
 * images; rdi = vCPU, rsi = how many, rdx = command line, rcx = image name. */
        .section .text.start, "ax"
        .globl _start
_start:
        cli
        cld
        test    %edi, %edi              /* not the first vCPU: to who has something for it */
        jnz     other
        mov     %rdx, %r12
        mov     %rcx, %r13
        mov     $__bss_start, %rdi
        mov     $__bss_end, %rcx
        sub     %rdi, %rcx
        shr     $3, %rcx
        xor     %eax, %eax
        rep stosq
        mov     %esi, guest_vcpus
        mov     $stack_top, %rsp
        call    trap_init
        mov     %r12, %rdi
        mov     %r13, %rsi
        call    guest_main
        mov     %eax, %edi
        call    guest_exit

        .weak   guest_other_start
other:
        mov     guest_other_start@GOTPCREL(%rip), %rax
        test    %rax, %rax
        jz      1f
        jmp     *%rax                   /* no stack; edi = vCPU */
1:      hlt
        jmp     1b

/* One access each: struct raw_access in rax and rdx, which guest_trap() sets after a fault at *_at; on at *_done. */
        .text
        .globl  try_read_at, try_read_done, try_write_at, try_write_done, try_read_raw, try_write_raw
try_read_raw:                           /* rdi = address, rsi = where to put the value */
        xor     %eax, %eax
        xor     %edx, %edx
try_read_at:
        mov     (%rdi), %rcx
        mov     %rcx, (%rsi)
try_read_done:
        ret
try_write_raw:                          /* rdi = address, rsi = value */
        xor     %eax, %eax
        xor     %edx, %edx
try_write_at:
        mov     %rsi, (%rdi)
try_write_done:
        ret

        .macro STUB n, haserr
stub_\n:
        .if \haserr == 0
        push    $0
        .endif
        push    $\n
        jmp     common_trap
        .balign 16
        .endm

        .altmacro
        .balign 16
        .globl  trap_stubs
trap_stubs:
        .set    i, 0
        .rept   80                      /* GUEST_VECTORS */
        .if i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21
        STUB    %i, 1
        .else
        STUB    %i, 0
        .endif
        .set    i, i+1
        .endr

common_trap:
        push    %rax
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        mov     %rsp, %rdi
        push    %rbp
        mov     %rsp, %rbp
        and     $-16, %rsp
        cld
        call    guest_trap
        mov     %rbp, %rsp
        pop     %rbp
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $16, %rsp
        iretq

        .bss
        .balign 4096
        .skip   16384
stack_top:
        .globl  guest_vcpus
guest_vcpus: .skip 4
        .section .note.GNU-stack, "", @progbits
