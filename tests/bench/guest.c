/* Freestanding benchmark guest: measures what a hypervisor charges for
 * common exits and for page-table work.  Contract: ../README.md.
 * All numbers are RDTSC ticks with the cost of an empty RDTSC pair taken off. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define PORT_DEBUG 0xE9
#define PORT_NULL  0xED /* nobody answers: round trip of a plain OUT */
#define PORT_BELL  0xEE /* nobody must answer; KVM rig: ioeventfd    */
#define PORT_EXIT  0xF4
#define HC_UNKNOWN 0x7fff0001UL /* hypercall number no hypervisor defines    */

#define P       1UL
#define W       2UL
#define A       0x20UL
#define D       0x40UL
#define PS      0x80UL
#define PTE_RW  (P | W | A | D)
#define PTE_RO  (P | A)
#define TBL     (P | W | A)
#define ADDR(x) ((x)&0x000ffffffffff000UL)

#define MEM_TOP   (64UL << 20)
#define POOL_BASE (8UL << 20)
#define NFRAMES   ((MEM_TOP - POOL_BASE) >> 12)
#define TVA       0x8000000000UL /* test region: PML4 slot 1, one page table  */
#define MAXS      2048

static inline void outb(u16 p, u8 v)
{
    __asm__ volatile("outb %0,%1" ::"a"(v), "Nd"(p) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return ((u64)hi << 32) | lo;
}
static inline void invlpg(u64 va)
{
    __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}
static inline void wcr3(u64 v)
{
    __asm__ volatile("mov %0,%%cr3" ::"r"(v) : "memory");
}
static inline u64 rcr2(void)
{
    u64 v;
    __asm__ volatile("mov %%cr2,%0" : "=r"(v));
    return v;
}
static inline u64 ld(u64 va)
{
    u64 v;
    __asm__ volatile("mov (%1),%0" : "=r"(v) : "r"(va) : "memory");
    return v;
}
static inline void st(u64 va, u64 v)
{
    __asm__ volatile("mov %1,(%0)" ::"r"(va), "r"(v) : "memory");
}
static inline void cpu_relax(void)
{
    __asm__ volatile("pause" ::: "memory");
}
static inline void zero4k(u64 pa)
{
    u64 c = 512;
    __asm__ volatile("rep stosq" : "+D"(pa), "+c"(c) : "a"(0UL) : "memory");
}
static inline void copy4k(u64 dst, u64 src)
{
    u64 c = 512;
    __asm__ volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(c)::"memory");
}
/* Page-table stores go through one mov each, never merged by the compiler. */
static inline void setpte(volatile u64 *p, u64 v)
{
    *p = v;
}

/* ---------------------------------------------------------------- output */
static void putch(char c)
{
    outb(PORT_DEBUG, (u8)c);
}
static void puts_(const char *s)
{
    while (*s)
        putch(*s++);
}
static void putu(u64 v)
{
    char b[24];
    int i = 24;
    b[--i] = 0;
    do {
        b[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    puts_(b + i);
}
static void putx(u64 v)
{
    puts_("0x");
    for (int i = 60; i >= 0; i -= 4)
        putch("0123456789abcdef"[(v >> i) & 15]);
}
static void __attribute__((noreturn)) stop(u8 code)
{
    outb(PORT_EXIT, code);
    /* Still here: nobody took the exit port.  Ask Bochs itself to stop. */
    for (const char *s = "Shutdown"; *s; s++)
        outb((u16)0x8900, (u8)*s);
    for (;;)
        __asm__ volatile("cli; hlt");
}
static void __attribute__((noreturn)) fail(const char *what, u64 a, u64 b)
{
    puts_("FAIL ");
    puts_(what);
    putch(' ');
    putx(a);
    putch(' ');
    putx(b);
    putch('\n');
    stop(1);
}

/* ----------------------------------------------------------------- stats */
static u32 samp[MAXS], samp2[MAXS], samp3[MAXS];
static u64 ovh;
static u64 net(u64 d)
{
    return d > ovh ? d - ovh : 0;
}

static void report(const char *name, u32 *s, u64 n, u64 div)
{
    u64 sum = 0;
    for (u64 i = 0; i < n; i++)
        sum += s[i];
    for (u64 gap = n / 2; gap; gap /= 2)
        for (u64 i = gap; i < n; i++) {
            u32 v = s[i];
            u64 j = i;
            for (; j >= gap && s[j - gap] > v; j -= gap)
                s[j] = s[j - gap];
            s[j] = v;
        }
    puts_("R ");
    puts_(name);
    puts_(" n=");
    putu(n);
    puts_(" min=");
    putu(s[0] / div);
    puts_(" med=");
    putu(s[n / 2] / div);
    puts_(" mean=");
    putu(sum / n / div);
    puts_(" max=");
    putu(s[n - 1] / div);
    putch('\n');
}
static void report_na(const char *name)
{
    puts_("R ");
    puts_(name);
    puts_(" n/a\n");
}

/* ---------------------------------------------------------- memory + AS */
static u64 pool[NFRAMES];
static u64 npool;
static u64 falloc(void)
{
    if (!npool)
        fail("pool", 0, 0);
    return pool[--npool];
}
static void ffree(u64 pa)
{
    pool[npool++] = pa;
}
static u64 sig(u64 pa)
{
    return (pa + 0x1234567) * 0x9E3779B97F4A7C15UL;
}
static void sign(u64 pa)
{
    st(pa, sig(pa));
    st(pa + 8, ~sig(pa));
}
static u64 dalloc(void)
{
    u64 f = falloc();
    sign(f);
    return f;
}
static u64 talloc(void)
{
    u64 f = falloc();
    zero4k(f);
    return f;
}
static inline void chk(const char *w, u64 va, u64 pa)
{
    u64 v = ld(va);
    if (__builtin_expect(v != sig(pa), 0))
        fail(w, v, sig(pa));
}

static u64 kpml4[512] __attribute__((aligned(4096)));
static u64 kpdpt[512] __attribute__((aligned(4096)));
static u64 kpd[512] __attribute__((aligned(4096)));

struct as {
    u64 pml4, pdpt, pd, pt;
};
static volatile u64 *ptof(struct as *s)
{
    return (volatile u64 *)s->pt;
}
static void as_new(struct as *s)
{
    s->pml4 = talloc();
    s->pdpt = talloc();
    s->pd = talloc();
    s->pt = talloc();
    setpte((u64 *)s->pml4, kpml4[0]);
    setpte((u64 *)s->pml4 + 1, s->pdpt | TBL);
    setpte((u64 *)s->pdpt, s->pd | TBL);
    setpte((u64 *)s->pd, s->pt | TBL);
}
static void as_free(struct as *s)
{
    ffree(s->pt);
    ffree(s->pd);
    ffree(s->pdpt);
    ffree(s->pml4);
}

/* ------------------------------------------------------------- exceptions */
struct frame {
    u64 r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax, vec, err, rip, cs, rflags, rsp, ss;
};
enum { PF_NONE, PF_SKIP, PF_SETW, PF_MAP, PF_COW };
static volatile int pf_mode, ud_mode;
static volatile u64 pf_resume, pf_count, pf_err, pf_va, pf_val;
static volatile u64 *volatile pf_pt;

void trap(struct frame *f)
{
    if (f->vec == 14 && pf_mode != PF_NONE) {
        u64 va = rcr2();
        volatile u64 *pte = pf_pt + ((va >> 12) & 511);
        pf_count++;
        pf_err = f->err;
        pf_va = va;
        switch (pf_mode) {
        case PF_SKIP: f->rip = pf_resume; return;
        case PF_SETW:
            setpte(pte, *pte | W);
            invlpg(va);
            return;
        case PF_MAP: setpte(pte, pf_val); return;
        case PF_COW: {
            u64 nf = falloc();
            if (f->err != 3)
                fail("cow err", f->err, va);
            copy4k(nf, ADDR(*pte));
            setpte(pte, nf | PTE_RW);
            invlpg(va);
            return;
        }
        }
    }
    if (f->vec == 6 && ud_mode) {
        ud_mode = 2;
        f->rip += 3;
        return;
    }
    puts_("TRAP vec=");
    putu(f->vec);
    puts_(" err=");
    putx(f->err);
    puts_(" rip=");
    putx(f->rip);
    puts_(" cr2=");
    putx(rcr2());
    putch('\n');
    stop(2);
}

extern u64 stub_table[32];
static struct {
    u16 o0, sel;
    u8 ist, type;
    u16 o1;
    u32 o2, rsv;
} idt[32] __attribute__((aligned(16)));
static u64 gdt[4] = {0, 0x00209b0000000000UL, 0x0000930000000000UL, 0};
struct dtr {
    u16 lim;
    u64 base;
} __attribute__((packed));

static void cpu_setup(void)
{
    struct dtr g = {sizeof gdt - 1, (u64)gdt}, i = {sizeof idt - 1, (u64)idt};
    u64 cr0, cr4;
    __asm__ volatile("lgdt %0" ::"m"(g));
    __asm__ volatile("mov %0,%%ds; mov %0,%%es; mov %0,%%ss; mov %1,%%fs; mov %1,%%gs" ::"r"(0x10), "r"(0));
    __asm__ volatile("push $8; lea 1f(%%rip),%%rax; push %%rax; lretq; 1:" ::: "rax", "memory");
    __asm__ volatile("lidt %0" ::"m"(i));
    __asm__ volatile("mov %%cr0,%0" : "=r"(cr0));
    __asm__ volatile("mov %0,%%cr0" ::"r"((cr0 | 0x10023UL) & ~0xcUL)); /* WP NE MP PE, EM=TS=0 */
    __asm__ volatile("mov %%cr4,%0" : "=r"(cr4));
    __asm__ volatile("mov %0,%%cr4" ::"r"(cr4 & ~0x20080UL)); /* no PCID, no PGE */
    wcr3((u64)kpml4);
}

/* A read that may fault and be skipped by the handler. */
static inline void touch_skip(u64 va)
{
    u64 t;
    __asm__ volatile("lea 1f(%%rip),%0; mov %0,%1; mov (%2),%0; 1:"
                     : "=&r"(t), "=m"(pf_resume)
                     : "r"(va)
                     : "memory");
}

/* ------------------------------------------------------------------ cases */
#define N 400
static u64 fr[512], fr2[512];
static u64 va_of(u64 i)
{
    return TVA + (i << 12);
}

static void c_exits(void)
{
    u64 t0, t1;
    u32 a, b, c, d, a0 = 0, b0 = 0;
    for (u64 i = 0; i < N; i++) {
        t0 = rdtsc();
        __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0) : "memory");
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
        if (i == 0) {
            a0 = a;
            b0 = b;
        }
        if (a != a0 || b != b0 || a < 1)
            fail("cpuid", a, b);
    }
    report("a.cpuid", samp, N, 1);

    u64 r = HC_UNKNOWN;
    ud_mode = 1;
    __asm__ volatile("vmcall" : "+a"(r) : "b"(0UL), "c"(0UL), "d"(0UL), "S"(0UL) : "memory");
    if (ud_mode == 2)
        report_na("b.vmcall");
    else {
        for (u64 i = 0; i < N; i++) {
            u64 q = HC_UNKNOWN;
            t0 = rdtsc();
            __asm__ volatile("vmcall" : "+a"(q) : "b"(0UL), "c"(0UL), "d"(0UL), "S"(0UL) : "memory");
            t1 = rdtsc();
            samp[i] = (u32)net(t1 - t0);
            if (q != r)
                fail("vmcall", q, r);
        }
        report("b.vmcall", samp, N, 1);
    }
    ud_mode = 0;

    for (u64 i = 0; i < N; i++) {
        t0 = rdtsc();
        outb(PORT_NULL, 0);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
    }
    report("c.out", samp, N, 1);
    for (u64 i = 0; i < N; i++) {
        t0 = rdtsc();
        outb(PORT_BELL, 0);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
    }
    report("c2.out-bell", samp, N, 1);
}

static void c_cr3(void)
{
    struct as x, y;
    u64 t0, t1;
    as_new(&x);
    as_new(&y);
    for (u64 i = 0; i < 16; i++) {
        fr[i] = dalloc();
        fr2[i] = dalloc();
        setpte(ptof(&x) + i, fr[i] | PTE_RW);
        setpte(ptof(&y) + i, fr2[i] | PTE_RW);
    }
    for (u64 k = 0; k < 4; k++) { /* warm both */
        wcr3(x.pml4);
        for (u64 i = 0; i < 16; i++)
            chk("warm x", va_of(i), fr[i]);
        wcr3(y.pml4);
        for (u64 i = 0; i < 16; i++)
            chk("warm y", va_of(i), fr2[i]);
    }
    wcr3(x.pml4);
    for (u64 i = 0; i < N; i++) {
        t0 = rdtsc();
        wcr3(x.pml4);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
        chk("cr3 same", va_of(i & 15), fr[i & 15]);
    }
    report("d.cr3-same", samp, N, 1);

    for (u64 i = 0; i < N; i++) {
        u64 to = (i & 1) ? x.pml4 : y.pml4, *e = (i & 1) ? fr : fr2;
        t0 = rdtsc();
        wcr3(to);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
        chk("cr3 alt", va_of(i & 15), e[i & 15]);
    }
    report("e0.cr3-alt", samp, N, 1);

    for (u64 i = 0; i < N; i++) {
        u64 to = (i & 1) ? x.pml4 : y.pml4, *e = (i & 1) ? fr : fr2;
        t0 = rdtsc();
        wcr3(to);
        for (u64 k = 0; k < 16; k++)
            chk("cr3 alt16", va_of(k), e[k]);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
    }
    report("e.cr3-alt-16touch", samp, N, 1);
    wcr3((u64)kpml4);
    for (u64 i = 0; i < 16; i++) {
        ffree(fr[i]);
        ffree(fr2[i]);
    }
    as_free(&x);
    as_free(&y);
}

static void c_ptes(void)
{
    struct as s;
    volatile u64 *pt;
    u64 t0, t1, t2, t3;

    as_new(&s);
    pt = ptof(&s);
    pf_pt = pt;
    for (u64 i = 0; i < 512; i++) {
        fr[i] = dalloc();
        fr2[i] = dalloc();
    }
    wcr3(s.pml4);

    /* f: INVLPG of a mapped page + touch */
    for (u64 i = 0; i < 16; i++)
        setpte(pt + i, fr[i] | PTE_RW);
    for (u64 i = 0; i < 16; i++)
        chk("f warm", va_of(i), fr[i]);
    wcr3(s.pml4);
    for (u64 i = 0; i < 16; i++)
        chk("f warm", va_of(i), fr[i]);
    for (u64 i = 0; i < N; i++) {
        u64 v = va_of(i & 15);
        t0 = rdtsc();
        invlpg(v);
        chk("invlpg", v, fr[i & 15]);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
    }
    report("f.invlpg+touch", samp, N, 1);

    /* g: not present -> present, no INVLPG needed, read */
    u64 n = 0;
    for (u64 r = 0; r < 4; r++) {
        u64 *e = (r & 1) ? fr2 : fr;
        for (u64 i = 0; i < 512; i++)
            setpte(pt + i, 0);
        wcr3(s.pml4);
        for (u64 i = 0; i < 512; i++) {
            u64 v = va_of(i);
            t0 = rdtsc();
            setpte(pt + i, e[i] | PTE_RW);
            chk("demand", v, e[i]);
            t1 = rdtsc();
            samp[n++] = (u32)net(t1 - t0);
        }
    }
    report("g.demand-map", samp, n, 1);

    /* g2: the same with A=D=0, read then write, then look at the A and D bits */
    n = 0;
    for (u64 r = 0; r < 4; r++) {
        u64 *e = (r & 1) ? fr2 : fr;
        for (u64 i = 0; i < 512; i++)
            setpte(pt + i, 0);
        wcr3(s.pml4);
        for (u64 i = 0; i < 512; i++) {
            u64 v = va_of(i);
            t0 = rdtsc();
            setpte(pt + i, e[i] | P | W);
            chk("demand AD", v, e[i]);
            st(v + 16, i);
            t1 = rdtsc();
            samp[n++] = (u32)net(t1 - t0);
            if (pt[i] != (e[i] | PTE_RW))
                fail("A/D bits", pt[i], e[i] | PTE_RW);
            if (ld(e[i] + 16) != i)
                fail("AD data", ld(e[i] + 16), i);
        }
    }
    report("g2.demand-map-AD", samp, n, 1);

    /* h: remap to another frame */
    for (u64 i = 0; i < 512; i++)
        setpte(pt + i, fr[i] | PTE_RW);
    wcr3(s.pml4);
    for (u64 i = 0; i < 512; i++)
        chk("h warm", va_of(i), fr[i]);
    n = 0;
    for (u64 r = 0; r < 4; r++) {
        u64 *e = (r & 1) ? fr : fr2;
        for (u64 i = 0; i < 512; i++) {
            u64 v = va_of(i);
            t0 = rdtsc();
            setpte(pt + i, e[i] | PTE_RW);
            invlpg(v);
            chk("remap", v, e[i]);
            t1 = rdtsc();
            samp[n++] = (u32)net(t1 - t0);
        }
    }
    report("h.remap", samp, n, 1);

    /* i: write-protect, write, #PF, handler restores W */
    pf_mode = PF_SETW;
    n = 0;
    for (u64 r = 0; r < 2; r++)
        for (u64 i = 0; i < 512; i++) {
            u64 v = va_of(i);
            pf_count = 0;
            t0 = rdtsc();
            setpte(pt + i, fr[i] | PTE_RO | D);
            invlpg(v);
            st(v + 16, i + r);
            t1 = rdtsc();
            samp[n++] = (u32)net(t1 - t0);
            if (pf_count != 1 || pf_err != 3 || pf_va != v + 16)
                fail("protect", pf_err, pf_count);
            if (ld(fr[i] + 16) != i + r)
                fail("protect data", ld(fr[i] + 16), i + r);
        }
    report("i.protect-fault", samp, n, 1);

    /* j: unmap, touch, #PF, handler maps another frame */
    pf_mode = PF_MAP;
    n = 0;
    for (u64 r = 0; r < 2; r++) {
        u64 *e = (r & 1) ? fr : fr2;
        for (u64 i = 0; i < 512; i++) {
            u64 v = va_of(i);
            pf_count = 0;
            pf_val = e[i] | PTE_RW;
            t0 = rdtsc();
            setpte(pt + i, 0);
            invlpg(v);
            chk("unmap", v, e[i]);
            t1 = rdtsc();
            samp[n++] = (u32)net(t1 - t0);
            if (pf_count != 1 || pf_err != 0 || pf_va != v)
                fail("unmap", pf_err, pf_count);
        }
    }
    report("j.unmap-fault", samp, n, 1);
    pf_mode = PF_NONE;

    /* k: 512 PTEs changed, one CR3 reload, 512 touches */
    static u32 sw[16], sc[16], stt[16], sa[16];
    for (u64 r = 0; r < 16; r++) {
        u64 *e = (r & 1) ? fr : fr2;
        t0 = rdtsc();
        for (u64 i = 0; i < 512; i++)
            setpte(pt + i, e[i] | PTE_RW);
        t1 = rdtsc();
        wcr3(s.pml4);
        t2 = rdtsc();
        for (u64 i = 0; i < 512; i++)
            chk("batch", va_of(i), e[i]);
        t3 = rdtsc();
        sw[r] = (u32)net(t1 - t0);
        sc[r] = (u32)net(t2 - t1);
        stt[r] = (u32)net(t3 - t2);
        sa[r] = (u32)net(t3 - t0);
    }
    report("k.batch/page", sa, 16, 512);
    report("k1.batch-write/page", sw, 16, 512);
    report("k2.batch-cr3/op", sc, 16, 1);
    report("k3.batch-touch/page", stt, 16, 512);

    /* m: fault of the guest's own on a never-present page, handler skips */
    pf_mode = PF_SKIP;
    for (u64 i = 0; i < N; i++) {
        u64 v = TVA + (1UL << 30) + (i << 12); /* PDPT entry never present */
        pf_count = 0;
        t0 = rdtsc();
        touch_skip(v);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
        if (pf_count != 1 || pf_err != 0 || pf_va != v)
            fail("native pf", pf_err, pf_count);
    }
    report("m.guest-fault", samp, N, 1);
    for (u64 i = 0; i < 512; i++)
        setpte(pt + i, 0);
    wcr3(s.pml4);
    for (u64 i = 0; i < N; i++) {
        u64 v = va_of(i); /* page table there, PTE zero */
        pf_count = 0;
        t0 = rdtsc();
        touch_skip(v);
        t1 = rdtsc();
        samp[i] = (u32)net(t1 - t0);
        if (pf_count != 1 || pf_err != 0 || pf_va != v)
            fail("native pf2", pf_err, pf_count);
    }
    report("m2.guest-fault-pte0", samp, N, 1);
    pf_mode = PF_NONE;

    wcr3((u64)kpml4);
    for (u64 i = 0; i < 512; i++) {
        ffree(fr[i]);
        ffree(fr2[i]);
    }
    as_free(&s);
}

/* l: fork, read, copy-on-write everything, exit */
#define FP 64
#define FR 16
static void c_fork(void)
{
    struct as par, ch;
    static u32 sa[FR], s1[FR], s2[FR], s3[FR], s4[FR];
    u64 t0, t1, t2, t3, t4;

    as_new(&par);
    for (u64 i = 0; i < FP; i++) {
        fr[i] = dalloc();
        setpte(ptof(&par) + i, fr[i] | PTE_RW);
    }
    wcr3(par.pml4);
    for (u64 i = 0; i < FP; i++) {
        chk("fork warm", va_of(i), fr[i]);
        st(va_of(i) + 24, 1);
    }

    for (u64 r = 0; r < FR; r++) {
        t0 = rdtsc();
        as_new(&ch);
        volatile u64 *pp = ptof(&par), *cp = ptof(&ch);
        for (u64 i = 0; i < FP; i++) {
            u64 e = pp[i] & ~W;
            setpte(pp + i, e);
            setpte(cp + i, e);
        }
        wcr3(ch.pml4);
        t1 = rdtsc();
        for (u64 i = 0; i < FP; i++)
            chk("child read", va_of(i), fr[i]);
        t2 = rdtsc();
        pf_pt = cp;
        pf_mode = PF_COW;
        pf_count = 0;
        for (u64 i = 0; i < FP; i++)
            st(va_of(i) + 8, r + i);
        pf_mode = PF_NONE;
        if (pf_count != FP)
            fail("cow count", pf_count, FP);
        t3 = rdtsc();
        for (u64 i = 0; i < FP; i++) {
            chk("cow sig", va_of(i), fr[i]); /* copied from the parent */
            if (ld(va_of(i) + 8) != r + i)
                fail("cow data", ld(va_of(i) + 8), r + i);
        }
        wcr3(par.pml4);
        for (u64 i = 0; i < FP; i++)
            if (ld(va_of(i) + 8) != ~sig(fr[i]))
                fail("parent data", ld(va_of(i) + 8), i);
        for (u64 i = 0; i < FP; i++) {
            ffree(ADDR(cp[i]));
            setpte(cp + i, 0);
            setpte(pp + i, pp[i] | W);
        }
        as_free(&ch);
        wcr3(par.pml4);
        for (u64 i = 0; i < FP; i++)
            st(va_of(i) + 24, r);
        t4 = rdtsc();
        sa[r] = (u32)net(t4 - t0);
        s1[r] = (u32)net(t1 - t0);
        s2[r] = (u32)net(t2 - t1);
        s3[r] = (u32)net(t3 - t2);
        s4[r] = (u32)net(t4 - t3);
    }
    report("l.fork/page", sa, FR, FP);
    report("l1.fork-build/page", s1, FR, FP);
    report("l2.fork-read/page", s2, FR, FP);
    report("l3.fork-cow/page", s3, FR, FP);
    report("l4.fork-exit/page", s4, FR, FP);
    wcr3((u64)kpml4);
    for (u64 i = 0; i < FP; i++)
        ffree(fr[i]);
    as_free(&par);
}

/* ------------------------------------------------------------------- SMP */
extern volatile u32 bsp_ready;
static int hv;
/* Both CPUs run case n with IF=1 under a hypervisor (no interrupt is ever
 * injected).  Build with -DSMP_CLI=1 to run it with IF=0: on Bochs 2.7 that
 * shows an emulator fault, see the README. */
#ifndef SMP_CLI
#define SMP_CLI 0
#endif
#define SN 1000
static struct {
    volatile u64 v;
    u64 pad[7];
} smp_seq __attribute__((aligned(64))), smp_ack __attribute__((aligned(64))),
    smp_cr3 __attribute__((aligned(64))), smp_sig __attribute__((aligned(64))),
    smp_va __attribute__((aligned(64)));

void ap_main(void)
{
    cpu_setup();
    wcr3(smp_cr3.v);
    if (hv && !SMP_CLI)
        __asm__ volatile("sti");
    smp_ack.v = 1;
    for (u64 k = 2; k < SN + 2; k++) {
        u64 t0, t1, v;
        while (smp_seq.v != k)
            cpu_relax();
        t0 = rdtsc();
        invlpg(smp_va.v);
        v = ld(smp_va.v);
        t1 = rdtsc();
        if (v != smp_sig.v) {
            smp_seq.v = ~0UL;
            samp2[0] = (u32)k;
            smp_ack.v = ~0UL;
            for (;;)
                cpu_relax();
        }
        samp2[k - 2] = (u32)net(t1 - t0);
        smp_ack.v = k;
    }
}

static void c_smp(void)
{
    struct as s;
    volatile u64 *pt;
    as_new(&s);
    pt = ptof(&s);
    for (u64 i = 0; i < 64; i++) {
        fr[i] = dalloc();
        fr2[i] = dalloc();
        setpte(pt + i, fr[i] | PTE_RW);
    }
    wcr3(s.pml4);
    for (u64 i = 0; i < 64; i++)
        chk("smp warm", va_of(i), fr[i]);
    smp_cr3.v = s.pml4;
    if (hv && !SMP_CLI)
        __asm__ volatile("sti");
    bsp_ready = 1;
    while (smp_ack.v != 1)
        cpu_relax();
    for (u64 k = 2; k < SN + 2; k++) {
        u64 i = (k - 2) & 63, v = va_of(i), t0, t1, t2;
        u64 f = (((k - 2) >> 6) & 1) ? fr[i] : fr2[i];
        smp_va.v = v;
        smp_sig.v = sig(f);
        t0 = rdtsc();
        setpte(pt + i, f | PTE_RW);
        invlpg(v);
        chk("smp local", v, f);
        t1 = rdtsc();
        smp_seq.v = k;
        while (smp_ack.v != k) {
            if (smp_ack.v == ~0UL)
                fail("smp remote stale", k, i);
            cpu_relax();
        }
        t2 = rdtsc();
        samp[k - 2] = (u32)net(t1 - t0);
        samp3[k - 2] = (u32)net(t2 - t0);
    }
    __asm__ volatile("cli");
    report("n1.smp-local", samp, SN, 1);
    report("n2.smp-remote", samp2, SN, 1);
    report("n.smp-shootdown", samp3, SN, 1);
    wcr3((u64)kpml4);
}

/* Which events drop a cached translation?  Informational: after a PTE change
 * without INVLPG both answers are legal; it shows what a test can and cannot
 * catch on this machine (1 = the old translation was still in use). */
static void c_stale(void)
{
    struct as s, y;
    volatile u64 *pt;
    static const char *const what[] = {"nothing",           "cpuid-exit", "out-exit", "guest-fault",
                                       "invlpg-other-page", "vmcall",     "cr3-same", "cr3-other-and-back"};
    as_new(&s);
    as_new(&y);
    pt = ptof(&s);
    u64 a = dalloc(), b = dalloc(), c = dalloc();
    setpte(pt + 1, c | PTE_RW);
    wcr3(s.pml4);
    for (u64 k = 0; k < 8; k++) {
        setpte(pt, a | PTE_RW);
        invlpg(TVA);
        chk("stale a", TVA, a);
        chk("stale a", TVA + 4096, c);
        setpte(pt, b | PTE_RW);
        switch (k) {
        case 1: {
            u32 x = 0, y2 = 0;
            __asm__ volatile("cpuid" : "+a"(x), "+c"(y2)::"ebx", "edx", "memory");
            break;
        }
        case 2: outb(PORT_NULL, 0); break;
        case 3:
            pf_mode = PF_SKIP;
            touch_skip(TVA + (1UL << 30));
            pf_mode = PF_NONE;
            break;
        case 4: invlpg(TVA + 4096); break;
        case 5: {
            u64 q = HC_UNKNOWN;
            ud_mode = 1;
            __asm__ volatile("vmcall" : "+a"(q) : "b"(0UL), "c"(0UL), "d"(0UL), "S"(0UL) : "memory");
            ud_mode = 0;
            break;
        }
        case 6: wcr3(s.pml4); break;
        case 7:
            wcr3(y.pml4);
            wcr3(s.pml4);
            break;
        }
        u64 v = ld(TVA);
        if (v != sig(a) && v != sig(b))
            fail("stale", v, k);
        if (k >= 6 && v != sig(b))
            fail("stale after cr3", v, k);
        puts_("I stale-after-");
        puts_(what[k]);
        puts_("=");
        putu(v == sig(a));
        putch('\n');
    }
    wcr3((u64)kpml4);
    ffree(a);
    ffree(b);
    ffree(c);
    as_free(&s);
    as_free(&y);
}

/* Does a host interrupt get the CPU away from a guest that only computes?
 * Spin SPIN ticks reading the TSC and count the jumps.  With IF=0 and IF=1:
 * external-interrupt exiting must not depend on the guest's IF. */
#define SPIN 4000000UL
static void spin_gaps(const char *name)
{
    u64 gaps = 0, max = 0, t0 = rdtsc(), t = t0, n;
    while (t - t0 < SPIN) {
        n = rdtsc();
        if (n - t > 300)
            gaps++;
        if (n - t > max)
            max = n - t;
        t = n;
    }
    puts_("I host-irq-gaps-");
    puts_(name);
    putch('=');
    putu(gaps);
    puts_(" max=");
    putu(max);
    putch('\n');
}
static inline void wrmsr(u32 i, u64 v)
{
    __asm__ volatile("wrmsr" ::"c"(i), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdmsr(u32 i)
{
    u32 a, d;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(i));
    return ((u64)d << 32) | a;
}
/* Only where CPUID offers x2APIC and the TSC deadline timer (on KVM: in-kernel
 * irqchip): arm a deadline and spin with IF=0.  KVM serves that deadline with
 * the VMX-preemption timer, so a jump of the clock near it says that timer
 * exits a guest that runs with IF=0. */
static void c_deadline(void)
{
    u32 a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!hv || (c & 0x01200000) != 0x01200000)
        return;
    wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
    wrmsr(0x80f, 0x1ff);          /* software enable */
    wrmsr(0x832, 0x40000 | 0x40); /* LVT timer: TSC deadline, vector 0x40 */
    u64 t0 = rdtsc(), t = t0, n, at = 0, len = 0;
    wrmsr(0x6e0, t0 + 1000000);
    t = rdtsc();
    while (t - t0 < 2000000) {
        n = rdtsc();
        if (n - t > 300 && t - t0 > 500000) {
            at = t - t0;
            len = n - t;
            break;
        }
        t = n;
    }
    puts_("I deadline-1000000-exit-at=");
    putu(at);
    puts_(" len=");
    putu(len);
    putch('\n');
    wrmsr(0x832, 0x10000);
    wrmsr(0x1b, rdmsr(0x1b) & ~0xc00UL);
}
static void c_preempt(void)
{
    c_deadline();
    spin_gaps("if0");
    if (!hv)
        return; /* bare metal: nobody set up the PIC */
    __asm__ volatile("sti");
    spin_gaps("if1");
    __asm__ volatile("cli");
    spin_gaps("if0-again");
}

void guest_main(u64 ncpu)
{
    for (u64 i = 0; i < 32; i++) {
        u64 o = stub_table[i];
        idt[i].o0 = (u16)o;
        idt[i].sel = 8;
        idt[i].ist = 0;
        idt[i].type = 0x8e;
        idt[i].o1 = (u16)(o >> 16);
        idt[i].o2 = (u32)(o >> 32);
        idt[i].rsv = 0;
    }
    kpml4[0] = (u64)kpdpt | TBL;
    kpdpt[0] = (u64)kpd | TBL;
    for (u64 i = 0; i < MEM_TOP >> 21; i++)
        kpd[i] = (i << 21) | PTE_RW | PS;
    cpu_setup();
    {
        u32 a = 1, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        hv = c >> 31;
    }

    u64 w0 = rdtsc();
    for (u64 a = MEM_TOP - 4096; a >= POOL_BASE; a -= 4096) {
        sign(a);
        ffree(a);
    }
    u64 w1 = rdtsc();

    ovh = ~0UL;
    for (int i = 0; i < 200; i++) {
        u64 t0 = rdtsc(), t1 = rdtsc();
        if (t1 - t0 < ovh)
            ovh = t1 - t0;
    }
    puts_("BEGIN cpus=");
    putu(ncpu);
    puts_(" rdtsc-pair=");
    putu(ovh);
    putch('\n');
    puts_("R 0.first-touch/page n=");
    putu(NFRAMES);
    puts_(" mean=");
    putu((w1 - w0) / NFRAMES);
    putch('\n');
    if (ncpu >= 2) {
        c_smp();
    } else {
        c_exits();
        c_cr3();
        c_ptes();
        c_fork();
        c_stale();
        c_preempt();
    }
    puts_("END all-checks-passed\n");
    stop(0);
}
