; traps.asm - one gate per exception vector, STUB_SIZE bytes apart so that traps_init() needs no table.
;
; Each stub completes the frame to `struct trap_frame` (arch/traps.h):
;   rsp -> gpr[16], vector, error, rip, cs, rflags, rsp, ss
%include "arch/offsets.inc"

default rel
section .note.GNU-stack noalloc noexec nowrite progbits
section .text

extern traps_handle, traps_survivor, traps_nmi_window
extern idle_window_start, idle_window_end, idle_resume
global traps_stubs, cpu_probe_execute

STUB_SIZE       equ 16
VECTORS         equ 32
VECTOR_NMI      equ 2
; Vectors that push an error code, SDM Vol 3A table 6-1: #DF #TS #NP #SS #GP #PF #AC #CP
ERROR_VECTORS   equ (1 << 8) | (0x1F << 10) | (1 << 17) | (1 << 21)
NMI_SAVED       equ 8                   ; bytes that nmi: itself has pushed
GPR_BYTES       equ 16 * 8

        align STUB_SIZE
traps_stubs:
%assign v 0
%rep VECTORS
        align STUB_SIZE
  %if v == VECTOR_NMI
        jmp nmi
  %else
    %if !((ERROR_VECTORS >> v) & 1)
        push 0
    %endif
        push v
        jmp full_frame
  %endif
  %assign v v + 1
%endrep

        align 16
full_frame:
        sub rsp, GPR_BYTES
        mov [rsp + 0 * 8], rax
        mov [rsp + 1 * 8], rcx
        mov [rsp + 2 * 8], rdx
        mov [rsp + 3 * 8], rbx
        mov [rsp + 5 * 8], rbp
        mov [rsp + 6 * 8], rsi
        mov [rsp + 7 * 8], rdi
        mov [rsp + 8 * 8], r8
        mov [rsp + 9 * 8], r9
        mov [rsp + 10 * 8], r10
        mov [rsp + 11 * 8], r11
        mov [rsp + 12 * 8], r12
        mov [rsp + 13 * 8], r13
        mov [rsp + 14 * 8], r14
        mov [rsp + 15 * 8], r15
        mov rdi, rsp
        cld
        sub rsp, 8                      ; the CPU aligned to 16, the frame is 23 quadwords
        call traps_handle
        add rsp, 8
        mov rax, [rsp + 0 * 8]
        mov rcx, [rsp + 1 * 8]
        mov rdx, [rsp + 2 * 8]
        mov rbx, [rsp + 3 * 8]
        mov rbp, [rsp + 5 * 8]
        mov rsi, [rsp + 6 * 8]
        mov rdi, [rsp + 7 * 8]
        mov r8, [rsp + 8 * 8]
        mov r9, [rsp + 9 * 8]
        mov r10, [rsp + 10 * 8]
        mov r11, [rsp + 11 * 8]
        mov r12, [rsp + 12 * 8]
        mov r13, [rsp + 13 * 8]
        mov r14, [rsp + 14 * 8]
        mov r15, [rsp + 15 * 8]
        add rsp, GPR_BYTES + 2 * 8      ; vector and error code
        iretq

; An NMI is a kick: counted, and it moves RIP out of the window before a VM entry. On its own stack (IST).
nmi:    push rax
        inc qword [gs:CPU_NMI_COUNT]
        mov rax, [traps_survivor]
        test rax, rax
        jnz .stop
.go:    mov rax, [rsp + NMI_SAVED]
        cmp rax, [traps_nmi_window + NMI_WINDOW_START]
        jb .idle
        cmp rax, [traps_nmi_window + NMI_WINDOW_END]
        jae .idle
        mov rax, [traps_nmi_window + NMI_WINDOW_RESUME_AT]
        mov [rsp + NMI_SAVED], rax
.out:   pop rax
        iretq
.idle:  push rcx                        ; the other window: before a HLT (arch/idle.asm)
        lea rcx, [idle_window_start]
        cmp rax, rcx
        jb .awake
        lea rcx, [idle_window_end]
        cmp rax, rcx
        jae .awake
        lea rcx, [idle_resume]
        mov [rsp + 8 + NMI_SAVED], rcx
.awake: pop rcx
        jmp .out
.stop:  cmp rax, [gs:CPU_SELF]
        je .go
        mov dword [gs:CPU_STATE], CPU_STATE_STOPPED
.halt:  cli
        hlt
        jmp .halt

; bool cpu_probe_execute(u64 address): the fault is the fetch at `address`, so the fixup cannot name the instruction;
; traps_handle() knows the return address on the stack instead.
global traps_probe_return, traps_probe_failed
cpu_probe_execute:
        call rdi
traps_probe_return:
        mov eax, 1
        ret
traps_probe_failed:                     ; RSP as after the CALL's return address was dropped
        xor eax, eax
        ret
