/* mb32_start.S - multiboot header, first instruction, exception stubs and single accesses of the 32-bit guest. */
        .code32
        .section .multiboot, "ax"
        .balign 4
        .long   0x1BADB002, 3, -(0x1BADB002 + 3)
        .globl  _start
_start:
        cli
        cld
        mov     $stack_top, %esp
        push    %ebx
        push    %eax
        call    trap_init
        call    guest_main
        push    %eax
        call    guest_exit

        .text
        .globl  read_raw, read_at, write_raw, write_at, exec_raw, exec_at, access_done
read_raw:                               /* (address): eax = the word */
        mov     4(%esp), %ecx
read_at:
        mov     (%ecx), %eax
        ret
write_raw:                              /* (address, word) */
        mov     4(%esp), %ecx
        mov     8(%esp), %eax
write_at:
        mov     %eax, (%ecx)
access_done:
        ret
        .globl  set_cr0_raw, set_cr0_at, set_cr3_raw, set_cr3_at, set_cr4_raw, set_cr4_at
set_cr0_raw:                            /* (value) */
        mov     4(%esp), %eax
set_cr0_at:
        mov     %eax, %cr0
        ret
set_cr3_raw:
        mov     4(%esp), %eax
set_cr3_at:
        mov     %eax, %cr3
        ret
set_cr4_raw:
        mov     4(%esp), %eax
set_cr4_at:
        mov     %eax, %cr4
        ret
exec_raw:                               /* (address): calls it */
        mov     4(%esp), %eax
        call    *%eax
        ret

        /* (offset, count): from the UART's scratch register into ES, which is `strings` of mb32_lib.c; the same
         * with 16-bit addresses. What is left of both: insb_end. */
        .globl  insb_raw, insb_at, insb_short_raw, insb_short_at, insb_done, insb_end
        .macro  INSB
        push    %edi
        push    %es
        mov     12(%esp), %edi
        mov     16(%esp), %ecx
        mov     $0x28, %eax
        mov     %eax, %es
        mov     $0x3FF, %edx
        .endm
insb_short_raw:
        INSB
insb_short_at:
        addr16 rep insb
        jmp     insb_done
insb_raw:
        INSB
insb_at:
        rep insb
insb_done:
        mov     %edi, insb_end
        mov     %ecx, insb_end + 4
        pop     %es
        pop     %edi
        ret

        .globl  int1_raw, int1_done, task_reader, task_address, task_value
int1_raw:
        .byte   0xf1
int1_done:
        ret
task_reader:
        mov     task_address, %eax
        mov     (%eax), %eax
        mov     %eax, task_value
        iret
        jmp     task_reader

        .macro STUB n, haserr
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
        .rept   32
        .if i == 8 || (i >= 10 && i <= 14) || i == 17 || i == 21
        STUB    %i, 1
        .else
        STUB    %i, 0
        .endif
        .set    i, i+1
        .endr
common_trap:
        pusha
        push    %esp
        cld
        call    guest_trap
        add     $4, %esp
        popa
        add     $8, %esp
        iret

        .bss
task_address: .skip 4
task_value: .skip 4
insb_end: .skip 8
        .balign 4096
        .skip   16384
stack_top:
        .section .note.GNU-stack, "", @progbits
