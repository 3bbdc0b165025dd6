; demo_image.asm - the image of both built-in guests as it is copied into their VMs (vmm/load_builtin.h).
        section .rodata
        global  demo_image_start, demo_image_end
        align   16
demo_image_start:
        incbin  "demo/demo.bin"
demo_image_end:
        section .note.GNU-stack noalloc noexec nowrite progbits
