; idle.asm - HLT that no wake-up can slip past.
;
; The hypervisor runs with interrupts off, so that only NMIs (kicks) end a plain HLT. Here they are on for HLT alone, for
; the CPU's own APIC timer. An NMI that comes between the look at the counter and HLT would be lost: traps.asm lets it
; return to idle_resume instead.
%include "arch/offsets.inc"

default rel
section .note.GNU-stack noalloc noexec nowrite progbits
section .text

global cpu_idle_halt, idle_timer_stub, idle_window_start, idle_window_end, idle_resume

; void cpu_idle_halt(u64 nmi_count): halts unless an NMI has come since nmi_count was read
cpu_idle_halt:
idle_window_start:
        cmp rdi, [gs:CPU_NMI_COUNT]
        jne idle_resume
        sti                             ; takes effect after HLT has begun
        hlt
idle_window_end:
idle_resume:
        cli
        ret

; The APIC timer's gate; cpu_idle_until() sends the EOI.
idle_timer_stub:
        iretq
