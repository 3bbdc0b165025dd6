; ap.asm - where the other CPUs begin after SIPI (SDM Vol 3A 8.4.4): real mode -> 64-bit mode on our page tables,
; find the own struct cpu by APIC id, take its stack, call into C.
;
; The BSP copies ap_start..ap_start_end to a page below 1 MiB and fills in the ap_start_* fields there; the CPUs only
; read it (it is mapped read-execute while they start), so all of them can run it at once.
%include "arch/offsets.inc"
%define OFF(label) ((label) - ap_start)

CR0_PE_ET_NE_WP_PG equ 0x80010031
CR4_PAE         equ 0x20
MSR_IA32_EFER   equ 0xC0000080
EFER_LME_NXE    equ 0x900
SELECTOR_CODE   equ 8
DESCRIPTOR_CODE equ 0x00AF9B000000FFFF
CPUID_TOPOLOGY  equ 0xB

section .note.GNU-stack noalloc noexec nowrite progbits
global ap_start, ap_start_end
global ap_start_gdt_address, ap_start_far_target, ap_start_cr3, ap_start_cpus, ap_start_count, ap_start_entry
global ap_start_gdt, ap_start_long_mode

section .rodata                         ; never run here
bits 16
        align 16
ap_start:
        cli
        mov ax, cs
        mov ds, ax
        o32 lgdt [OFF(gdt_pointer)]
        mov eax, CR4_PAE
        mov cr4, eax
        mov eax, [OFF(ap_start_cr3)]
        mov cr3, eax
        mov ecx, MSR_IA32_EFER
        rdmsr
        or eax, EFER_LME_NXE
        wrmsr
        mov eax, CR0_PE_ET_NE_WP_PG     ; also ends the no-cache state after INIT
        mov cr0, eax
        jmp dword far [OFF(ap_start_far_target)]
bits 64
ap_start_long_mode:
        xor eax, eax                    ; own APIC id -> edx
        cpuid
        cmp eax, CPUID_TOPOLOGY
        jb .old_id
        mov eax, CPUID_TOPOLOGY
        xor ecx, ecx
        cpuid
        test ebx, ebx
        jnz .search
.old_id:
        mov eax, 1
        cpuid
        shr ebx, 24
        mov edx, ebx
.search:
        mov rsi, [rel ap_start_cpus]    ; struct cpu *[count]
        mov ecx, [rel ap_start_count]
.next:  mov rdi, [rsi]
        cmp [rdi + CPU_APIC_ID], edx
        je .found
        add rsi, 8
        dec ecx
        jnz .next
.unknown:
        cli
        hlt
        jmp .unknown
.found: mov rsp, [rdi + CPU_STACK_TOP]
        xor ebp, ebp
        call [rel ap_start_entry]       ; no_return void (struct cpu *)
        ud2

        align 8
ap_start_gdt:
        dq 0, DESCRIPTOR_CODE
gdt_pointer:
        dw 15
ap_start_gdt_address:
        dd 0
ap_start_far_target:
        dd 0
        dw SELECTOR_CODE
        align 8
ap_start_cr3:
        dq 0
ap_start_cpus:
        dq 0
ap_start_entry:
        dq 0
ap_start_count:
        dd 0
ap_start_end:
