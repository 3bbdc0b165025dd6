; step.asm - HLT under single step: the #DB after it wakes the CPU at once, with interrupts off. Flat guest.
bits 64
org 0x200000

EXIT_PORT       equ 0xF4
DEBUG_PORT      equ 0xE9
TF              equ 0x100
STACK           equ 0x300000
IDT             equ 0x310000
DB_GATE         equ IDT + 16
CODE            equ 8
DATA            equ 16
GATE            equ 0x8E                ; interrupt gate, present

start:  lgdt [gdtr]
        mov rsp, STACK
        push CODE
        lea rax, [rel .flat]
        push rax
        retfq
.flat:  mov eax, DATA
        mov ss, eax
        lea rax, [rel stepped]
        mov edi, DB_GATE
        mov [rdi], ax
        mov word [rdi + 2], CODE
        mov word [rdi + 4], GATE << 8
        shr rax, 16
        mov [rdi + 6], ax
        shr rax, 16
        mov [rdi + 8], rax
        lidt [idtr]
        pushfq
        or qword [rsp], TF
        popfq
        hlt                             ; single step is due after it
        mov al, 1                       ; woken by something else
        out EXIT_PORT, al

stepped:
        lea rsi, [rel words]
.next:  lodsb
        test al, al
        jz .end
        out DEBUG_PORT, al
        jmp .next
.end:   out EXIT_PORT, al               ; al is 0
        hlt

words:  db "step: PASS", 10, 0
        align 8
gdt:    dq 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
gdtr:   dw 23
        dq gdt
idtr:   dw 31
        dq IDT
