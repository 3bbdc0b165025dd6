/*
 * vm_create.c - each step takes its memory from host_frames through take(), which remembers it: a VM that
 * cannot be made gives all of it back.
 */
#include "vmm/vm_create.h"

#include "arch/cpuid.h"
#include "arch/log.h"
#include "arch/string.h"
#include "arch/tsc.h"
#include "mm/frames.h"
#include "vmm/console.h"
#include "vmm/fpu.h"
#include "vmm/load_builtin.h"
#include "vmm/paging.h"
#include "vmm/sched.h"
#include "vmm/vm_platform.h"
#include "vmm/vm_size.h"
#include "vmx/msr_bitmap.h"

struct vm *vms[VM_MAX];
u32 vm_count;

#define TAKEN_MAX 1024u
#define BIG_PAGE  (2 * MIB)

/* What the VM being made has got so far; VMs are made one after the other, by the boot CPU. */
static struct {
    hpa_t start;
    u64 pages;
} taken[TAKEN_MAX];
static u32 taken_count;
static u16 next_vpid = 1;

static void give_back(void)
{
    while (taken_count) {
        taken_count--;
        if (frames_free(&host_frames, taken[taken_count].start, taken[taken_count].pages) != ERR_OK)
            log_line("memory at 0x%lx is lost: it was free already", taken[taken_count].start.v);
    }
}

static enum err take(u64 pages, u64 align, u64 below, hpa_t *out)
{
    if (taken_count == TAKEN_MAX)
        return ERR_NO_MEMORY;
    enum err e = frames_alloc(&host_frames, pages, align, below, out);
    if (e == ERR_OK) {
        taken[taken_count].start = *out;
        taken[taken_count++].pages = pages;
    }
    return e;
}

/* Memory of the hypervisor's own for this VM. */
static void *take_own(struct vm *vm, u64 bytes)
{
    hpa_t at;
    u64 pages = ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;

    if (take(pages, PAGE_SIZE, FRAMES_ANYWHERE, &at) != ERR_OK)
        return NULL;
    if (vm)
        vm->own_bytes += pages << PAGE_SHIFT;
    return hpa_to_ptr(at);
}

/* RAM for [gfn, gfn + pages), in pieces as large as can be had. */
static enum err take_ram(struct vm *vm, u64 gfn, u64 pages)
{
    u64 piece = pages;

    while (pages) {
        hpa_t at;
        piece = MIN(piece, pages);
        u64 align = piece >= BIG_PAGE >> PAGE_SHIFT ? BIG_PAGE : PAGE_SIZE;
        if (take(piece, align, FRAMES_ANYWHERE, &at) != ERR_OK) {
            if (piece == 1)
                return ERR_NO_MEMORY;
            piece = (piece + 1) / 2;
            continue;
        }
        enum err e = p2m_map_ram(&vm->p2m, gfn, at, piece);
        if (e != ERR_OK)
            return e;
        gfn += piece;
        pages -= piece;
    }
    return ERR_OK;
}

static enum err make_memory(struct vm *vm)
{
    struct guest_layout layout = guest_layout(vm->config->memory);
    const struct guest_range *last = &layout.ram[layout.count - 1];

    vm->window_gfn = (last->base + last->size) >> PAGE_SHIFT;
    vm->window_pages = vm_window_pages(vm->config->memory >> PAGE_SHIFT);
    u64 gfns = vm->window_gfn + vm->window_pages;
    void *p2m = take_own(vm, gfns * sizeof(u64)), *traces = take_own(vm, trace_map_size(gfns));
    if (!p2m || !traces)
        return ERR_NO_MEMORY;
    p2m_init(&vm->p2m, p2m, gfns);
    trace_map_init(&vm->traces, traces, gfns);
    for (u32 i = 0; i < layout.count; i++) {
        enum err e = take_ram(vm, layout.ram[i].base >> PAGE_SHIFT, layout.ram[i].size >> PAGE_SHIFT);
        if (e != ERR_OK)
            return e;
        vm->ram_pages += layout.ram[i].size >> PAGE_SHIFT;
    }
    for (u64 i = 0; i < vm->window_pages; i++)
        p2m_set(&vm->p2m, vm->window_gfn + i, HPA(0), P2M_EMPTY, false);
    return ERR_OK;
}

/* The metadata, and the frames that the shadow tables take: none if the tables are there already. */
static enum err take_frames(struct vm *vm, struct shadow_config *c)
{
    void *frames = c->shared ? NULL : take_own(vm, (u64)c->frame_count << PAGE_SHIFT);

    c->metadata = take_own(vm, shadow_metadata_size(c));
    if ((!frames && !c->shared) || !c->metadata)
        return ERR_NO_MEMORY;
    c->frames = frames ? ptr_to_hpa(frames) : HPA(0);
    return ERR_OK;
}

static struct shadow_config shadow_config_of(struct vm *vm, const struct boot_info *info)
{
    return (struct shadow_config){
        .vm = &vm->shadow,
        .maxphyaddr = (u8)vm->platform.cpuid.maxphyaddr,
        .host_maxphyaddr = (u8)cpu_maxphyaddr(),
        .ept = vm->ept_unpaged && !vm->ept_paged,
        .shared = vm->shadow_shared,
        .frame_count = MAX(shadow_frames_suggested(vm->config->memory), SHADOW_FRAMES_MIN),
        .hfn_base = 0,
        .hfn_count = info->ram_top >> PAGE_SHIFT,
        .tuning = SHADOW_TUNING_DEFAULT,
    };
}

/* The tables that all vCPUs share; as many frames as for two vCPUs that have their own. */
static enum err make_shared_tables(struct vm *vm, const struct boot_info *info)
{
    struct shadow_shared *shared = take_own(vm, sizeof(*shared));
    struct shadow_config c = shadow_config_of(vm, info);

    if (!shared)
        return ERR_NO_MEMORY;
    c.frame_count = MAX(2 * c.frame_count, vm->vcpus * SHADOW_FRAMES_MIN);
    enum err e = take_frames(vm, &c);
    if (e == ERR_OK)
        e = shadow_shared_init(shared, &c);
    vm->shadow_shared = shared;
    return e;
}

static enum err make_shadow(struct vm *vm, struct vcpu *v, const struct boot_info *info)
{
    struct shadow_config c = shadow_config_of(vm, info);

    c.vcpu = v->index;
    enum err e = take_frames(vm, &c);
    if (e != ERR_OK)
        return e;
    if (take(1, PAGE_SIZE, 4 * GIB, &c.low_frame) != ERR_OK)
        return ERR_NO_MEMORY;
    vm->own_bytes += PAGE_SIZE;
    return shadow_init(&v->shadow, &c);
}

static struct vcpu *make_vcpu(struct vm *vm, u32 index, const struct vm_create *with)
{
    struct vcpu *v = take_own(vm, sizeof(*v));
    hpa_t block;

    if (!v)
        return NULL;
    v->vm = vm;
    v->index = index;
    v->state = index == 0 || vm->entry.every_vcpu ? VCPU_READY : VCPU_OFF;
    atomic_init(&v->asleep, v->state == VCPU_OFF);
    v->wait_until = VTIME_NEVER;
    v->xcr0 = XCR0_X87;
    v->fpu = take_own(vm, FPU_AREA_BYTES);
    u64 below = with->caps->address_32bit ? 4 * GIB : FRAMES_ANYWHERE;
    if (!v->fpu || take(sizeof(struct vmcs_block) / PAGE_SIZE, PAGE_SIZE, below, &block) != ERR_OK)
        return NULL;
    vm->own_bytes += sizeof(struct vmcs_block);
    fpu_area_init(v->fpu);
    vmx_vcpu_init(&v->vmx, hpa_to_ptr(block), with->caps->revision);
    v->vpid = next_vpid++;
    if (make_shadow(vm, v, with->info) != ERR_OK)
        return NULL;
    messages_init_vcpu(v);
    return v;
}

/* Channels between different vCPUs are made while they run: a page for three from the allocator, which is rare
 * and short. */
static void *channel_memory(void *ctx, u64 bytes)
{
    struct vm *vm = ctx;
    u64 pages = ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
    void *memory = NULL;
    hpa_t at;

    if (vm->take)
        memory = take_own(vm, bytes);
    else if (frames_alloc(&host_frames, pages, PAGE_SIZE, FRAMES_ANYWHERE, &at) == ERR_OK)
        memory = hpa_to_ptr(at);
    if (memory)
        atomic_fetch_add_explicit(&vm->channel_bytes, pages << PAGE_SHIFT, memory_order_relaxed);
    return memory;
}

static void give_channel_piece(void *ctx, void *piece)
{
    struct vm *vm = ctx;

    atomic_fetch_sub_explicit(&vm->channel_bytes, MATRIX_PIECE, memory_order_relaxed);
    if (frames_free(&host_frames, ptr_to_hpa(piece), MATRIX_PIECE >> PAGE_SHIFT) != ERR_OK)
        log_line("memory at 0x%lx is lost: it was free already", ptr_to_hpa(piece).v);
}

void vm_give_channels_back(struct vm *vm)
{
    matrix_release(&vm->matrix, give_channel_piece, vm);
}

static enum err make_matrix(struct vm *vm)
{
    void *metadata = take_own(vm, matrix_metadata_size(vm->vcpus));

    if (!metadata)
        return ERR_NO_MEMORY;
    vm->shadow.matrix = &vm->matrix;
    return matrix_init(&vm->matrix, vm->vcpus, metadata, channel_memory, vm);
}

/* mm/ asks vCPUs to come and look at their kick slots. */
static u64 kick(void *ctx, u64 mask)
{
    const struct vm *vm = ctx;
    u64 outside = 0;

    for (; mask; mask &= mask - 1) {
        struct vcpu *v = vm->vcpu[__builtin_ctzll(mask)];
        if (!vm->shadow_shared)
            vcpu_request(v, REQUEST_SHADOW);
        else if (!vcpu_request_inside(v, REQUEST_SHADOW))
            outside |= BIT(v->index);
    }
    return outside;
}

static enum err make_vcpus(struct vm *vm, const struct vm_create *with)
{
    enum err e = make_matrix(vm);

    if (e != ERR_OK)
        return e;
    vm->shadow.p2m = &vm->p2m;
    vm->shadow.traces = &vm->traces;
    vm->shadow.vcpus = vm->vcpus;
    vm->shadow.kick = kick;
    vm->shadow.kick_context = vm;
    if (paging_shares_tables(vm))
        e = make_shared_tables(vm, with->info);
    if (e != ERR_OK)
        return e;
    for (u32 i = 0; i < vm->vcpus; i++) {
        vm->vcpu[i] = make_vcpu(vm, i, with);
        if (!vm->vcpu[i])
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static enum err make_msr_bitmap(struct vm *vm)
{
    struct vmx_msr_bitmap *b = take_own(vm, sizeof(*b));

    if (!b)
        return ERR_NO_MEMORY;
    vmx_msr_bitmap_exit_all(b);
    vmx_msr_bitmap_pass_switched(b);
    vm->msr_bitmap = ptr_to_hpa(b);
    return ERR_OK;
}

/* ---- the guest's image ---- */

static bool mem_write(void *ctx, gpa_t to, const void *data, u64 size)
{
    return guest_mem_write(&((struct vm *)ctx)->p2m, to, data, size) == ERR_OK;
}

static bool mem_zero(void *ctx, gpa_t to, u64 size)
{
    return guest_mem_zero(&((struct vm *)ctx)->p2m, to, size) == ERR_OK;
}

static void report(void *ctx, const char *text)
{
    log_line("vm %s: %s", ((struct vm *)ctx)->name, text);
}

const struct boot_file *boot_file_find(const struct boot_info *info, const char *path)
{
    for (u32 i = 0; i < info->file_count; i++)
        if (strcmp(info->files[i].path, path) == 0)
            return &info->files[i];
    return NULL;
}

static bool find_image(const struct vm *vm, const struct boot_info *info, const char *path, struct image *out)
{
    const struct boot_file *f = boot_file_find(info, path);
    enum err e = f ? f->err : ERR_NOT_FOUND;

    if (demo_find_image(path, out))
        return true;
    if (e != ERR_OK) {
        log_line("vm %s: %s: %s", vm->name, path, err_text(e));
        return false;
    }
    *out = (struct image){f->path, f->data, f->size};
    return true;
}

static enum err load(struct vm *vm, const struct boot_info *info)
{
    struct load_request request = {
        .vm = vm->config,
        .acpi_rsdp = vm->rsdp.v,
        .mem = {vm, mem_write, mem_zero},
        .report = report,
        .report_ctx = vm,
    };

    if (!find_image(vm, info, vm->config->kernel, &request.kernel))
        return ERR_NOT_FOUND;
    if (vm->config->initrd[0] && !find_image(vm, info, vm->config->initrd, &request.initrd))
        return ERR_NOT_FOUND;
    for (u32 i = 0; i < vm->config->module_count; i++) {
        if (!find_image(vm, info, vm->config->modules[i].path, &request.modules[i]))
            return ERR_NOT_FOUND;
        request.module_count++;
    }
    vm->format = vm->config->format == FORMAT_AUTO ? load_detect(&request.kernel) : vm->config->format;
    return load_guest(&request, &vm->entry);
}

static enum err make(struct vm *vm, const struct vm_create *with)
{
    enum err e = make_memory(vm);

    if (e == ERR_OK)
        e = paging_init_vm(vm, with->caps);
    if (e == ERR_OK)
        e = vm_platform_init(vm, with->info, with->caps);
    if (e == ERR_OK)
        e = load(vm, with->info);
    if (e == ERR_OK)
        e = make_msr_bitmap(vm);
    if (e == ERR_OK)
        e = messages_init_vm(vm);
    if (e == ERR_OK)
        e = make_vcpus(vm, with);
    return e;
}

static void *take_for_vm(void *ctx, u64 bytes)
{
    return take_own(ctx, bytes);
}

enum err vm_create(const struct vm_create *with, u32 id)
{
    const struct vm_config *config = &with->config->vms[id];

    taken_count = 0;
    struct vm *vm = take_own(NULL, sizeof(*vm));
    if (!vm)
        return ERR_NO_MEMORY;
    vm->id = id;
    vm->config = config;
    vm->name = config->name;
    vm->vcpus = config->vcpus;
    vm->own_bytes = ALIGN_UP(sizeof(*vm), PAGE_SIZE);
    vm->take = take_for_vm;
    vm->started_tsc = tsc_read();
    atomic_store_explicit(&vm->running, vm->vcpus, memory_order_relaxed);
    enum err e = make(vm, with);
    vm->take = NULL;
    if (e != ERR_OK) {
        log_line("vm %s: cannot be started: %s", config->name, err_text(e));
        give_back();
        return e;
    }
    vms[id] = vm;
    vmm_console_add(vm);
    for (u32 i = 0; i < vm->vcpus; i++)
        sched_place(sched_choose(with->cpus, with->cpu_count, config->cpus, vm), vm->vcpu[i]);
    return ERR_OK;
}
