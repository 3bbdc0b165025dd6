/* others_start.S - see others.h. Here from guest_start.S: no stack, edi = index. */
        .text
        .globl  guest_other_start
guest_other_start:
        mov     others_entry(%rip), %rax
        test    %rax, %rax
        jnz     1f
        pause
        jmp     guest_other_start
1:      mov     %edi, %ebx
        mov     %rax, %r12
        mov     %edi, %ecx
        shl     $12, %rcx
        add     others_stacks(%rip), %rcx
        mov     %rcx, %rsp
        call    trap_init
        mov     %rbx, %rdi
        call    *%r12

        .data                           /* not in .bss, which the first vCPU clears when it starts */
        .globl  others_entry, others_stacks
        .balign 8
others_entry:   .quad 0
others_stacks:  .quad 0
        .section .note.GNU-stack, "", @progbits
