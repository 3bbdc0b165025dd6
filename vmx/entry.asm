; entry.asm - into the guest and back, again and again: SDM Vol. 3C chapters 26 and 27.
;
; enum vmx_enter_result vmx_enter(struct vmx_vcpu *v, u64 nmi_count)
;
; The hypervisor's stack while the guest runs, HOST_RSP pointing at the lowest word:
;
;       return address | rbx | rbp | r12 | r13 | r14 | r15 | v        <- HOST_RSP, a multiple of 16
;
; The six registers are those a C function has to keep; they are saved once, not at each exit. GPRs of the guest go
; between the CPU and v->gpr; RSP, RIP and RFLAGS are in the VMCS. CR2, debug registers and so on stay live (vcpu.h).
;
; After each exit v->on_exit(v) is called. It returns the NMI count as it was before it looked for work, and the guest
; goes on if that is the count still; or VMX_LEAVE, which no count ever is.
;
; Between vmx_enter_window_start and vmx_enter_window_end an NMI does not return to where it came from but to
; vmx_enter_left (arch/traps.h), so a kick that comes after the comparison, but before the guest runs, is not
; lost: the entry is called off. Within the window the general registers may hold anything; only the stack counts.

%include "vmx/offsets.inc"

default rel
bits 64

; enum vmx_enter_result, checked in offsets.c
LEFT          equ 0
FAIL_INVALID  equ 1
FAIL_VALID    equ 2

global vmx_enter:function
global vmx_exit_landing:function
global vmx_enter_left:function
global vmx_enter_window_start:function
global vmx_enter_window_end:function

; Enters with %1 unless an NMI has come since RAX was the count; falls through on VMfail only.
%macro ENTER 1
        cmp     [gs:CPU_NMI_COUNT], rax
        jne     vmx_enter_left
        mov     rax, [rdi + VCPU_RAX]
        mov     rcx, [rdi + VCPU_RCX]
        mov     rdx, [rdi + VCPU_RDX]
        mov     rbx, [rdi + VCPU_RBX]
        mov     rbp, [rdi + VCPU_RBP]
        mov     rsi, [rdi + VCPU_RSI]
        mov     r8,  [rdi + VCPU_R8]
        mov     r9,  [rdi + VCPU_R9]
        mov     r10, [rdi + VCPU_R10]
        mov     r11, [rdi + VCPU_R11]
        mov     r12, [rdi + VCPU_R12]
        mov     r13, [rdi + VCPU_R13]
        mov     r14, [rdi + VCPU_R14]
        mov     r15, [rdi + VCPU_R15]
        mov     rdi, [rdi + VCPU_RDI]
        %1
%endmacro

section .text

align 16
vmx_enter:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        push    rdi
        mov     rax, rsi
        cmp     [rdi + VCPU_HOST_RSP], rsp
        jne     new_stack
placed: test    byte [rdi + VCPU_STATE], STATE_LAUNCHED
        jnz     resume
        jmp     launch

; HOST_RIP: all registers but RSP are the guest's.
align 16
vmx_exit_landing:
        push    rdi
        mov     rdi, [rsp + 8]                  ; v
        mov     [rdi + VCPU_RAX], rax
        mov     [rdi + VCPU_RCX], rcx
        mov     [rdi + VCPU_RDX], rdx
        mov     [rdi + VCPU_RBX], rbx
        mov     [rdi + VCPU_RBP], rbp
        mov     [rdi + VCPU_RSI], rsi
        mov     [rdi + VCPU_R8],  r8
        mov     [rdi + VCPU_R9],  r9
        mov     [rdi + VCPU_R10], r10
        mov     [rdi + VCPU_R11], r11
        mov     [rdi + VCPU_R12], r12
        mov     [rdi + VCPU_R13], r13
        mov     [rdi + VCPU_R14], r14
        mov     [rdi + VCPU_R15], r15
        pop     qword [rdi + VCPU_RDI]
        ; VMRESUME from now on; nothing cached of this exit; and nothing armed any more (the upper half): the
        ; exit has cleared the valid bit of the entry field (27.2).
        mov     qword [rdi + VCPU_STATE], STATE_LAUNCHED
        ; What the guest chose must not steer C code that runs ahead of its branches.
        xor     eax, eax
        xor     ecx, ecx
        xor     edx, edx
        xor     ebx, ebx
        xor     ebp, ebp
        xor     esi, esi
        xor     r8d, r8d
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
        xor     r12d, r12d
        xor     r13d, r13d
        xor     r14d, r14d
        xor     r15d, r15d
        call    [rdi + VCPU_ON_EXIT]            ; RAX: the count of NMIs to go on at
        mov     rdi, [rsp]
vmx_enter_window_start:
resume: ENTER   vmresume
        jmp     failed
launch: ENTER   vmlaunch
vmx_enter_window_end:
        ; Still here: VMfail. Both kinds are told apart by CF; MOV leaves the flags alone.
failed:
        mov     eax, FAIL_INVALID
        jc      leave
        mov     eax, FAIL_VALID
        jmp     leave

vmx_enter_left:
        mov     eax, LEFT
leave:
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret

; Only when the stack depth of the caller has changed, or after a move to another CPU.
new_stack:
        mov     [rdi + VCPU_HOST_RSP], rsp
        mov     ecx, FIELD_HOST_RSP
        vmwrite rcx, rsp
        jmp     placed

section .note.GNU-stack noalloc noexec nowrite progbits
