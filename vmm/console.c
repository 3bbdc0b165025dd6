/* console.c - who prints, who gets the keyboard. */
#include "vmm/console.h"

#include "arch/console.h"
#include "arch/log.h"
#include "arch/tsc.h"
#include "vmm/guest_console.h"
#include "vmm/sched.h"
#include "vmm/stats.h"

/* A line that has stood still for so long is shown without its end. The ticks count where the clock is slow for the work
 * done between two of a line's bytes, as an emulator's is: there 20 ms may be 40,000 instructions. */
#define PROMPT_DELAY_NS    20000000u
#define PROMPT_DELAY_TICKS 1000000u

/* Of the console's ring: kept for the hypervisor's own lines, so that no guest can make it wait. */
#define OWN_SHARE 4096u

static struct console_mux mux;

/* The keyboard; private to the boot CPU. */
static u8 escape;
static bool escaped;
static u32 selected;

static void own_line(const char *text, size_t n)
{
    console_mux_own(&mux, text, n);
}

void vmm_console_init(u8 escape_character)
{
    escape = escape_character;
    console_mux_init(&mux, console_write);
    log_set_output(own_line);
}

void vmm_console_add(struct vm *vm)
{
    console_mux_add(&mux, vm->id, vm->name);
}

void vmm_console_select(u32 vm)
{
    selected = vm;
}

void vmm_console_byte(struct vm *vm, u8 byte)
{
    console_mux_byte(&mux, vm->id, byte, tsc_read());
}

bool vmm_console_room(size_t bytes)
{
    if (likely(console_room() >= bytes + OWN_SHARE))
        return true;
    console_pump();
    return false;
}

void vmm_console_show(struct vm *vm)
{
    /* one that waits for its turn in the middle of a line has not asked anything */
    u64 delay = tsc_ns_to_ticks(PROMPT_DELAY_NS + sched_longest_wait_ns(vm->vcpu[0]->on), tsc_hz());

    console_mux_flush_idle(&mux, vm->id, tsc_read() - MAX(delay, PROMPT_DELAY_TICKS));
}

void vmm_console_finish(struct vm *vm)
{
    console_mux_finish(&mux, vm->id);
}

static bool input_put(struct vm_input *in, u8 byte)
{
    u32 head = atomic_load_explicit(&in->head, memory_order_relaxed);

    if (head - atomic_load_explicit(&in->tail, memory_order_acquire) == VM_INPUT_RING)
        return false;
    in->byte[head % VM_INPUT_RING] = byte;
    atomic_store_explicit(&in->head, head + 1, memory_order_release);
    return true;
}

void vmm_console_give_input(struct vm *vm)
{
    struct vm_input *in = &vm->input;
    u32 tail = atomic_load_explicit(&in->tail, memory_order_relaxed);

    while (tail != atomic_load_explicit(&in->head, memory_order_acquire) &&
           vplat_uart_receive(&vm->platform, tsc_read(), in->byte[tail % VM_INPUT_RING]))
        atomic_store_explicit(&in->tail, ++tail, memory_order_release);
}

static bool has_ended(const struct vm *vm)
{
    return atomic_load_explicit(&((struct vm *)vm)->ending, memory_order_acquire);
}

static void help(void)
{
    char key = (char)('a' + escape - 1);

    log_line("ctrl-%c, then a digit: the keyboard goes to that VM; n: to the next one; s: its statistics; "
             "S: everybody's; p: its power button; ctrl-%c: itself",
             key, key);
    for (u32 i = 0; i < vm_count; i++)
        if (vms[i])
            log_line("  %u  %s%s%s", i + 1, vms[i]->name, has_ended(vms[i]) ? " (ended)" : "",
                     i == selected ? " <- keyboard" : "");
}

static void choose(u32 vm)
{
    if (vm >= vm_count || !vms[vm]) {
        help();
        return;
    }
    selected = vm;
    log_line("keyboard: %s%s", vms[vm]->name, has_ended(vms[vm]) ? ", which has ended" : "");
}

static void choose_next(void)
{
    for (u32 i = 1; i <= vm_count; i++)
        if (vms[(selected + i) % vm_count] && !has_ended(vms[(selected + i) % vm_count])) {
            choose((selected + i) % vm_count);
            return;
        }
}

static void type(u8 byte)
{
    struct vm *vm = vms[selected];

    if (!vm || atomic_load_explicit(&vm->ending, memory_order_acquire))
        return;
    if (input_put(&vm->input, byte))
        vcpu_request(vm->vcpu[0], REQUEST_INPUT);
}

static void command(u8 byte)
{
    if (byte == escape)
        type(byte);
    else if (byte >= '1' && byte <= '9')
        choose((u32)(byte - '1'));
    else if (byte == 'n')
        choose_next();
    else if (byte == 's' && vms[selected])
        stats_print(vms[selected]);
    else if (byte == 'S')
        stats_print_all();
    else if (byte == 'p' && vms[selected])
        vplat_press_power_button(&vms[selected]->platform, tsc_read());
    else
        help();
}

void vmm_console_poll(void)
{
    for (int c = console_getc(); c >= 0; c = console_getc()) {
        if (escaped) {
            escaped = false;
            command((u8)c);
        } else if ((u8)c == escape) {
            escaped = true;
        } else {
            type((u8)c);
        }
    }
    /* what did not fit into a UART's FIFO the last time */
    for (u32 i = 0; i < vm_count; i++) {
        struct vm *vm = vms[i];
        if (vm && !atomic_load_explicit(&vm->ending, memory_order_acquire) &&
            atomic_load_explicit(&vm->input.head, memory_order_relaxed) !=
                atomic_load_explicit(&vm->input.tail, memory_order_relaxed))
            vcpu_request(vm->vcpu[0], REQUEST_INPUT);
        if (vm)
            vmm_console_show(vm);
    }
}
