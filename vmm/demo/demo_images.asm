; demo_images.asm - the two built-in guests as they are copied into their VMs (vmm/load_builtin.h).
        section .rodata
        global  demo_alpha_start, demo_alpha_end, demo_beta_start, demo_beta_end
        align   16
demo_alpha_start:
        incbin  "demo/alpha.bin"
demo_alpha_end:
        align   16, db 0
demo_beta_start:
        incbin  "demo/beta.bin"
demo_beta_end:
        section .note.GNU-stack noalloc noexec nowrite progbits
