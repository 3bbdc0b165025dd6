/*
 * real16.S - what the real-mode guest does in real mode, and the ways there and back.
 *
 * real_call(routine) copies nothing: real.c has put the code from real_image to real_image_end at IMAGE. It goes
 *
 *   32-bit flat --> 16-bit protected (CS base IMAGE) --> PE=0, still with that CS --> far jump --> routine
 *                                                                                                     |
 *   32-bit flat <-- far jump <-- PE=1 <-- real mode  <------------------------------------------------+
 *
 * Routines leave results in the words of `results`, by STORE, for real.c to compare.
 */
#define IMAGE    0x8000
#define SEGMENT  0x800
#define STACK    0x7F00
#define CODE32   0x08
#define DATA32   0x10
#define CODE16   0x18
#define DATA16   0x20
#define CODE64   0x28
#define COM1     0x3F8
#define AT(x)    ((x) - real_image)

        .text
        .code32
        .globl  real_call
real_call:                              /* (offset of the routine in the image) */
        mov     4(%esp), %eax
        pusha
        pushf
        cli
        mov     %esp, saved_esp
        sidt    saved_idt
        sgdt    saved_gdt
        mov     %eax, IMAGE + AT(routine)
        lgdt    real_gdt_register
        ljmp    $CODE16, $AT(enter16)
        .globl  real_back
real_back:
        mov     $DATA32, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        mov     saved_esp, %esp
        lgdt    saved_gdt
        lidt    saved_idt
        ljmp    $CODE32, $1f
1:      popf
        popa
        ret

        .data
        .balign 8
real_gdt:
        .quad   0
        .quad   0x00CF9B000000FFFF      /* 08: flat 32-bit code */
        .quad   0x00CF93000000FFFF      /* 10: flat data */
        .quad   0x00009B000000FFFF | IMAGE << 16        /* 18: 16-bit code at IMAGE */
        .quad   0x000093000000FFFF      /* 20: 64 KiB of data at 0 */
        .quad   0x00AF9B000000FFFF      /* 28: 64-bit code */
real_gdt_register:
        .word   . - real_gdt - 1
        .long   real_gdt
saved_gdt: .skip 8
saved_idt: .skip 8
saved_esp: .long 0

        .globl  real_image, real_image_end
        .section .real, "awx"
        .balign 16
        .code16
real_image:
/* ---- the ways in and out ---- */
enter16:
        mov     $DATA16, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     %ax, %fs
        mov     %ax, %gs
        mov     %cr0, %eax
        and     $~1, %eax
        mov     %eax, %cr0
        /* real mode with a code segment of protected mode: not 16 times its selector */
        mov     %cs, %bx
        ljmp    $SEGMENT, $AT(in_real)
in_real:
        mov     %cs, %ax
        mov     %ax, %ds
        mov     %ax, %es
        mov     %ax, %ss
        mov     $STACK, %sp
        lidt    AT(ivt_register)
        xor     %di, %di
        call    *AT(routine)
leave_real:
        cli
        data32 lgdt AT(back_gdt)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   *AT(back)

        .macro  STORE what
        movw    \what, AT(results)(%di)
        add     $2, %di
        .endm
        .macro  STOREL what
        movl    \what, AT(results)(%di)
        add     $4, %di
        .endm
        .macro  HANDLER vector, to
        push    %es
        push    $0
        pop     %es
        movw    $AT(\to), %es:(4 * \vector)
        movw    $SEGMENT, %es:(4 * \vector + 2)
        pop     %es
        .endm

/* What no routine expects: the place goes into `strayed`. */
        .globl  real_stray, strayed
real_stray:
        push    %cs
        pop     %ds
        pop     AT(strayed)
        jmp     leave_real

/* ---- routines ---- */
        .globl  real_basics, real_flags, real_interrupts, real_faults, real_step, real_far, real_system, real_ports
        .globl  real_timer, real_unreal, real_long, real_short_idt

real_basics:                            /* CS before the far jump was 18h or so; PE reads 0 */
        STORE   %cs
        push    %cs
        pop     %ax
        STORE   %ax
        smsw    %ax
        and     $1, %ax
        STORE   %ax
        mov     %cr0, %eax
        and     $1, %ax
        STORE   %ax
        sidt    AT(scratch)
        mov     AT(scratch), %ax
        STORE   %ax
        mov     %ss, %ax
        STORE   %ax
        ret

real_flags:
        pushf
        pop     %ax
        and     $0x7200, %ax
        STORE   %ax                     /* IF 0, IOPL 0 */
        push    $0x7202
        popf
        pushf
        pop     %ax
        STORE   %ax                     /* IF, IOPL 3, NT */
        cli
        pushf
        pop     %ax
        STORE   %ax
        pushl   $0x00240CD7             /* AC, ID and all that POPFD takes */
        popfl
        pushfl
        pop     %eax
        STOREL  %eax
        push    $2
        popf
        sti
        cli
        pushf
        pop     %ax
        STORE   %ax
        pushl   $2
        popfl
        ret

real_interrupts:
        HANDLER 0x40, note_frame
        HANDLER 3, note_frame
        HANDLER 4, note_frame
        int     $0x40
1:      mov     %sp, %ax
        STORE   %ax
        STORE   $AT(1b)                 /* as the handler saw it */
        int3
2:      STORE   $AT(2b)
        mov     $0x7F, %al
        inc     %al
        into
3:      STORE   $AT(3b)
        sti
        int     $0x40                   /* the handler runs with IF 0; IRET gives it back */
        pushf
        pop     %ax
        cli
        and     $0x200, %ax
        STORE   %ax
        /* IRET with 32-bit operands, to a place of our choice */
        pushfl
        pushl   $SEGMENT
        pushl   $AT(4f)
        iretl
4:      STORE   $0x1234
        ret
note_frame:                             /* IP, and IF of its own flags and of those pushed */
        push    %bp
        mov     %sp, %bp
        push    %ax
        mov     2(%bp), %ax
        STORE   %ax
        mov     6(%bp), %ax
        and     $0x200, %ax
        STORE   %ax
        pushf
        pop     %ax
        and     $0x200, %ax
        STORE   %ax
        pop     %ax
        pop     %bp
        iret

/* Each fault's handler notes its vector and whether the IP pushed is that of the instruction, and goes on at BX. */
        .macro  FAULT vector, insn:vararg
        HANDLER \vector, 8f
        mov     $AT(7f), %bx
6:      \insn
        STORE   $0xBAD
        jmp     7f
8:      STORE   $\vector
        pop     %ax
        sub     $AT(6b), %ax
        STORE   %ax
        push    %bx
        iret
7:
        .endm
real_faults:
        FAULT   0, div %bh
        FAULT   5, bound %ax, AT(bounds)
        FAULT   6, ud2
        FAULT   6, sldt %ax
        FAULT   6, .byte 0xF0, 0xFA     /* lock cli */
        FAULT   6, .byte 0x8E, 0xC8     /* mov %ax, %cs */
        FAULT   13, mov 0xFFFF, %ax
        FAULT   13, mov %ax, 0xFFFF
        FAULT   13, addr32 mov 0x10000, %al
        FAULT   13, lidt 0xFFFD
        FAULT   13, ljmpl $SEGMENT, $0x10000
        mov     %sp, AT(scratch)
        FAULT   12, mov %ss:0xFFFF, %ax
        mov     $0xE0000000, %ecx
        FAULT   13, rdmsr
        mov     $0xFFFF, %si
        mov     $COM1 + 7, %dx
        FAULT   13, outsw
        mov     %cr0, %eax
        or      $8, %al                 /* TS */
        mov     %eax, %cr0
        FAULT   7, fnop
        clts
        smsw    %ax
        and     $8, %ax
        STORE   %ax
        ret

real_step:                              /* seven instructions under TF, some of them emulated, and INT */
        HANDLER 1, count_step
        HANDLER 0x41, just_return
        xor     %cx, %cx
        pushf
        pop     %ax
        or      $1, %ah
        push    %ax
        popf                            /* TF from the next instruction on */
        nop
        cli
        int     $0x41                   /* no step at its end, nor in the handler: IRET steps */
        pushf
        pop     %ax
        and     $0xFEFF, %ax
        push    %ax
        popf
        STORE   %cx
        mov     %dr6, %eax
        and     $0x4000, %ax
        STORE   %ax
        xor     %eax, %eax
        mov     %eax, %dr6
        ret
count_step:
        inc     %cx
just_return:
        iret

real_far:
        lcall   $SEGMENT, $AT(far_target)
        lcall   *AT(far_pointer)
        lcalll  $SEGMENT, $AT(far_target_32)
        lds     AT(pointer), %si
        mov     %ds, %ax
        push    %cs
        pop     %ds
        STORE   %ax
        STORE   %si
        les     AT(pointer), %si
        STORE   %es
        lfs     AT(pointer), %si
        STORE   %fs
        lgs     AT(pointer), %si
        STORE   %gs
        mov     %es:2, %ax            /* 0x1234:0002 */
        STORE   %ax
        mov     %fs:2, %ax
        STORE   %ax
        push    %cs
        pop     %es
        mov     %ss, %dx
        lss     AT(stack), %sp
        mov     %ss, %ax
        mov     %dx, %ss
        mov     $STACK - 2, %sp
        STORE   %ax
        ret
far_target:
        STORE   $0xFA
        lret
far_target_32:
        STORE   $0xFB
        lretl

real_system:
        xor     %eax, %eax
        cpuid
        STOREL  %ebx
        rdtsc
        or      %edx, %eax
        setnz   %al
        movzx   %al, %ax
        STORE   %ax
        mov     $0x174, %ecx            /* SYSENTER_CS */
        mov     $0x5678, %eax
        xor     %edx, %edx
        wrmsr
        xor     %eax, %eax
        rdmsr
        STORE   %ax
        mov     $0x12345678, %eax
        mov     %eax, %dr0
        mov     %dr0, %ebx
        STOREL  %ebx
        xor     %eax, %eax
        mov     %eax, %dr0
        mov     $0x2000, %eax
        mov     %eax, %cr3
        mov     %cr3, %ebx
        STOREL  %ebx
        mov     $0x11, %eax             /* VME and PSE */
        mov     %eax, %cr4
        mov     %cr4, %ebx
        STOREL  %ebx
        xor     %eax, %eax
        mov     %eax, %cr4
        mov     $0xABCD0000, %eax
        mov     %eax, %cr2
        mov     %cr2, %ebx
        STOREL  %ebx
        mov     $2, %ax
        lmsw    %ax                     /* MP */
        smsw    %ax
        and     $2, %ax
        STORE   %ax
        wbinvd
        invlpg  0
        ret

real_ports:
        mov     $COM1 + 7, %dx          /* scratch register of the UART */
        mov     $0x5A, %al
        out     %al, %dx
        xor     %ax, %ax
        in      %dx, %al
        STORE   %ax
        mov     $AT(words), %si
        mov     $COM1, %dx
        mov     $words_end - words, %cx
        cld
        rep outsb
        STORE   %cx
        mov     $COM1 + 7, %dx
        push    %di
        mov     $AT(scratch), %di
        mov     $3, %cx
        rep insb
        pop     %di
        mov     AT(scratch), %ax
        STORE   %ax
        in      $0x61, %al
        mov     %cr0, %eax              /* #AC is for CPL 3, and real mode has 0 */
        or      $0x40000, %eax          /* AM */
        mov     %eax, %cr0
        pushl   $0x00040002             /* AC */
        popfl
        mov     $AT(words), %si
        or      $1, %si
        mov     $COM1 + 7, %dx
        FAULT   17, outsw
        pushl   $2
        popfl
        mov     %cr0, %eax
        and     $~0x40000, %eax
        mov     %eax, %cr0
        ret

/* The PIT's interrupts by the PIC, while HLT waits: at vector 20h. */
real_timer:
        HANDLER 0x20, tick
        mov     $0x11, %al
        out     %al, $0x20
        mov     $0x20, %al
        out     %al, $0x21
        mov     $4, %al
        out     %al, $0x21
        mov     $1, %al
        out     %al, $0x21
        mov     $0xFE, %al
        out     %al, $0x21
        mov     $0x34, %al
        out     %al, $0x43
        mov     $0x37, %al              /* 20 ms: a slow emulator comes between two of them to the loop */
        out     %al, $0x40
        mov     $0x5D, %al
        out     %al, $0x40
        xor     %cx, %cx
1:      sti
        hlt
        cli
        cmp     $5, %cx
        jb      1b
        /* and a loop that only an interrupt ends */
        sti
2:      cmp     $8, %cx
        jb      2b
        cli
        mov     $0xFF, %al
        out     %al, $0x21
        STORE   $1
        ret
tick:
        inc     %cx
        push    %ax
        mov     $0x20, %al
        out     %al, $0x20
        pop     %ax
        iret

/* 4 GiB segments: FS with a selector that is not its base, DS that is loaded again. */
real_unreal:
        data32 lgdt AT(back_gdt)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        mov     $DATA32, %cx
        mov     %cx, %fs
        mov     %cx, %es
        mov     %cx, %ds
        and     $~1, %al
        mov     %eax, %cr0
        xor     %cx, %cx
        mov     %cx, %es                /* base 0, and the limit stays */
        mov     $0x300000, %esi
        movl    $0x11223344, %fs:(%esi)
        incl    %fs:(%esi)
        mov     %fs:(%esi), %eax
        push    %cs
        pop     %ds
        STOREL  %eax
        mov     %es:(%esi), %eax
        STOREL  %eax
        imul    $2, %es:(%esi), %eax
        STOREL  %eax
        fninit
        fildl   %es:(%esi)              /* not one that emulation knows */
        fistpl  AT(scratch)
        mov     AT(scratch), %eax
        STOREL  %eax
        push    %di
        mov     $0x300000, %esi
        mov     $0x301000, %edi
        mov     $64, %ecx
        rep movsl %es:(%esi), %es:(%edi)
        mov     %di, %ax
        pop     %di
        STORE   %ax
        STORE   %cx
        addr32 mov %es:0x301000, %eax
        STOREL  %eax
        mov     %fs:0x1500, %ax        /* base 0 is what counts, not the selector */
        STORE   %ax
        mov     %cs, %ax
        STORE   %ax
        mov     %ss, %ax
        STORE   %ax
        push    %cs                     /* DS had 4 GiB, too: beyond 64 KiB it still has */
        pop     %ds
        mov     $0x2F8000, %esi         /* + IMAGE = 0x300000 */
        mov     (%esi), %eax
        STOREL  %eax
        /* GS has 64 KiB still */
        FAULT   13, addr32 mov %gs:0x10000, %al
        FAULT   13, addr32 mov %eax, %gs:0xFFFD
        push    %cs
        pop     %es
        ret

/* From real mode to 64-bit mode by one MOV CR0, and back through protected mode. */
real_long:
        push    %di
        mov     $0x20, %eax             /* PAE */
        mov     %eax, %cr4
        mov     AT(long_cr3), %eax
        mov     %eax, %cr3
        mov     $0xC0000080, %ecx
        rdmsr
        or      $0x100, %ax
        wrmsr
        data32 lgdt AT(back_gdt)
        mov     %cr0, %eax
        or      $0x80000001, %eax
        mov     %eax, %cr0
        ljmpl   *AT(to_64)
        .code64
in_64:  mov     $0x123456789ABC, %rax
        shr     $16, %rax
        mov     %eax, IMAGE + AT(long_result)
        ljmpl   *IMAGE + AT(from_64)
        .code16
in_compat:
        mov     %cr0, %eax
        and     $0x7FFFFFFE, %eax       /* PG and PE at once */
        mov     %eax, %cr0
        ljmp    $SEGMENT, $AT(out_of_long)
out_of_long:
        mov     $0xC0000080, %ecx
        rdmsr
        and     $0xFEFF, %ax
        wrmsr
        xor     %eax, %eax
        mov     %eax, %cr4
        push    %cs
        pop     %ds
        pop     %di
        mov     AT(long_result), %eax
        STOREL  %eax
        ret

real_short_idt:                         /* INT beyond the limit of the IDT: #GP at the instruction */
        lidt    AT(short_ivt)
        FAULT   13, int $0x50
        lidt    AT(ivt_register)
        ret

        .balign 4
ivt_register:
        .word   0x3FF
        .long   0
short_ivt:
        .word   4 * 14 - 1
        .long   0
        .globl  routine, results, long_cr3
routine: .word  0, 0
back_gdt:
        .word   6 * 8 - 1
        .long   real_gdt
back:   .long   real_back
        .word   CODE32
to_64:  .long   IMAGE + AT(in_64)
        .word   CODE64
from_64: .long  AT(in_compat)
        .word   CODE16
        .balign 4
bounds: .word   0x7000, 0x7001
far_pointer: .word AT(far_target), SEGMENT
pointer: .word  0x4321, 0x1234
stack:  .word   0x6000, 0x123
scratch: .skip  8
words:  .ascii  "real: this line by OUTSB\n"
words_end:
        .balign 4
long_cr3: .long 0
long_result: .long 0
strayed: .word 0, 0
results: .skip  256
real_image_end:
        .section .note.GNU-stack, "", @progbits
