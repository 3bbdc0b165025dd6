/* links: vmm/decode.c vmm/decode_fetch.c vmm/decode_map.c vmm/decode_operand.c vmm/emulate.c vmm/emulate_alu.c
 * vmm/emulate_alu_wide.c vmm/emulate_io.c vmm/emulate_quick.c vmm/descriptor.c vmm/emulate_segment.c
 * vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * fuzz_decode.c - libFuzzer target: any bytes, any registers, memory that answers as the input says. Beyond
 * the absence of memory errors and undefined behaviour it checks what must hold for every input: a decoded
 * length that was there to decode, work that ends, and registers untouched by what failed.
 *
 * Built by `make fuzz` (fuzz.mk); PB_SECONDS says how long it runs.
 */
#include <stdlib.h>
#include <string.h>

#include "arch/regs.h"
#include "vmm/emulate.h"

enum { MEMORY = 256, ACCESS_LIMIT = 1000, MODES = 3 };

/* Memory of 256 bytes that repeats through the whole address space; statuses come from the input. */
struct fake {
    u8 memory[MEMORY];
    const u8 *status;
    size_t statuses;
    unsigned accesses;
    bool implicit;
    u8 flags; /* bit 0: CR0.PE, bit 1: long mode */
    u64 vector[EMULATE_MMX + 8][2];
    struct vmx_seg seg[EMULATE_IDTR + 1];
};

static void require(bool condition)
{
    if (!condition)
        abort();
}

static enum emulate_status next_status(struct fake *f, unsigned size)
{
    require(size == 1 || size == 2 || size == 4 || size == 8 || size == 16);
    require(f->accesses < ACCESS_LIMIT);
    u8 s = f->accesses < f->statuses ? f->status[f->accesses] : 0;
    f->accesses++;
    return s % 8 == 1   ? EMULATE_FAULT
           : s % 8 == 2 ? EMULATE_RETRY
           : s % 8 == 3 ? EMULATE_UNKNOWN
                        : EMULATE_OK;
}

static void get(const struct fake *f, gva_t gva, unsigned size, u8 *to)
{
    for (unsigned i = 0; i < size; i++)
        to[i] = f->memory[(gva.v + i) % MEMORY];
}

static void put(struct fake *f, gva_t gva, unsigned size, const u8 *from)
{
    for (unsigned i = 0; i < size; i++)
        f->memory[(gva.v + i) % MEMORY] = from[i];
}

static enum emulate_status on_read(void *ctx, gva_t gva, unsigned size, bool for_write, u64 v[2])
{
    (void)for_write;
    enum emulate_status s = next_status(ctx, size);
    if (s == EMULATE_OK)
        get(ctx, gva, size, (u8 *)v);
    return s;
}

static enum emulate_status on_write(void *ctx, gva_t gva, unsigned size, const u64 v[2])
{
    enum emulate_status s = next_status(ctx, size);
    if (s == EMULATE_OK)
        put(ctx, gva, size, (const u8 *)v);
    return s;
}

static enum emulate_status on_cmpxchg(void *ctx, gva_t gva, unsigned size, const u64 expected[2],
                                      const u64 desired[2], u64 seen[2])
{
    enum emulate_status s = next_status(ctx, size);
    if (s != EMULATE_OK)
        return s;
    get(ctx, gva, size, (u8 *)seen);
    if (memcmp(seen, expected, size) == 0)
        put(ctx, gva, size, (const u8 *)desired);
    return EMULATE_OK;
}

static void on_vector_read(void *ctx, unsigned reg, u64 v[2])
{
    require(reg < EMULATE_MMX + 8);
    memcpy(v, ((struct fake *)ctx)->vector[reg], sizeof(u64[2]));
}

static void on_vector_write(void *ctx, unsigned reg, const u64 v[2])
{
    require(reg < EMULATE_MMX + 8);
    memcpy(((struct fake *)ctx)->vector[reg], v, sizeof(u64));
}

static enum emulate_status on_fault(void *ctx, unsigned vector, u32 error)
{
    (void)ctx;
    require(vector == VECTOR_DE || (vector >= VECTOR_NP && vector <= VECTOR_GP));
    require(error <= UINT16_MAX && (vector != VECTOR_DE || !error));
    return EMULATE_FAULT;
}

static void on_segment_read(void *ctx, unsigned seg, struct vmx_seg *out)
{
    require(seg <= EMULATE_IDTR);
    *out = ((struct fake *)ctx)->seg[seg];
}

static void on_segment_write(void *ctx, unsigned seg, const struct vmx_seg *value)
{
    require(seg <= EMULATE_IDTR);
    ((struct fake *)ctx)->seg[seg] = *value;
}

static void on_implicit(void *ctx, bool on)
{
    struct fake *f = ctx;
    require(f->implicit != on);
    f->implicit = on;
}

static u64 on_cr0(void *ctx)
{
    return ((struct fake *)ctx)->flags & 1 ? CR0_PE : 0;
}

static bool on_long_mode(void *ctx)
{
    return ((struct fake *)ctx)->flags & 2;
}

static const struct emulate_ops ops = {
    on_read,         on_write,         on_cmpxchg,  on_vector_read, on_vector_write, on_fault,
    on_segment_read, on_segment_write, on_implicit, on_cr0,         on_long_mode,
};

/* Takes n bytes from the input; zeroes when it is used up. */
static void take(const u8 **data, size_t *left, void *to, size_t n)
{
    size_t have = MIN(n, *left);
    memset(to, 0, n);
    memcpy(to, *data, have);
    *data += have;
    *left -= have;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const enum cpu_mode modes[MODES] = {CPU_MODE_16, CPU_MODE_32, CPU_MODE_64};
    u8 header[3];
    struct insn in;

    take(&data, &size, header, sizeof header);
    enum cpu_mode mode = modes[header[0] % MODES];
    /* An exact copy, so that the sanitizer sees any byte read beyond it. */
    size_t n = MIN(size, (size_t)header[1] % (INSN_MAX_LENGTH + 2));
    u8 *bytes = malloc(n + !n);
    memcpy(bytes, data, n);
    enum err e = decode_insn(bytes, n, mode, &in);
    free(bytes);
    require(e == ERR_OK || e == ERR_UNSUPPORTED || (e == ERR_TRUNCATED && n < INSN_MAX_LENGTH));
    if (e != ERR_OK)
        return 0;
    require(in.length > 0 && in.length <= n && in.length <= INSN_MAX_LENGTH && in.reg < 16);
    require(insn_segments(&in) < BIT(INSN_SEG_COUNT));
    data += in.length;
    size -= in.length;

    u64 gpr[16], before[16];
    struct fake f = {.flags = header[2]};
    struct emulate_state st = {.gpr = gpr, .ops = &ops, .ctx = &f, .stack_size = header[2] & 1 ? 2 : 4};
    take(&data, &size, gpr, sizeof gpr);
    take(&data, &size, &st.rip, sizeof st.rip);
    take(&data, &size, &st.rflags, sizeof st.rflags);
    take(&data, &size, st.seg_base, sizeof st.seg_base);
    take(&data, &size, f.seg, sizeof f.seg);
    take(&data, &size, f.memory, MEMORY / 4);
    st.cpl = header[2] >> 2 & 3;
    st.tzcnt = st.lzcnt = header[2] & 1;
    st.rep_limit = header[2] >> 1;
    f.status = data;
    f.statuses = size;
    memcpy(before, gpr, sizeof gpr);
    u64 rip = st.rip, rflags = st.rflags;
    enum emulate_status s = emulate_insn(&in, &st);
    bool is_string = insn_op_is_string(in.op);
    require(s <= EMULATE_UNKNOWN && (s != EMULATE_PARTIAL || (is_string && in.rep)) && !f.implicit);
    if (s == EMULATE_OK)
        require(!(st.rflags & RFLAGS_RF));
    else
        require(st.rip == rip &&
                (is_string || (memcmp(before, gpr, sizeof gpr) == 0 && st.rflags == rflags)));
    return 0;
}
