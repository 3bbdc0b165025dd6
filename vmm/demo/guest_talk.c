/* guest_talk.c - the calls of ipc/abi.h, and the local APIC as far as messages need it. */
#include "vmm/demo/guest.h"

#define MSR_APIC_BASE  0x1B
#define APIC_BASE_X2   BIT(10)
#define MSR_X2APIC_EOI 0x80B
#define MSR_X2APIC_SVR 0x80F
#define XAPIC_EOI      0xFEE000B0ull
#define XAPIC_SVR      0xFEE000F0ull
#define SVR_ENABLE     (BIT(8) | (GUEST_VECTORS - 1)) /* software enable, spurious vector */
#define CPUID_1_X2APIC BIT(21)

static struct pb_info self aligned_to(128);
static struct pb_message outgoing aligned_to(64), incoming aligned_to(64);
static struct pb_inbox inbox aligned_to(4096);
bool lapic_x2apic;

struct call_result guest_call(u64 number, u64 rbx, u64 rcx, u64 rdx)
{
    struct call_result r;

    __asm__ volatile("vmcall"
                     : "=a"(r.status), "=b"(r.rbx), "=c"(r.rcx)
                     : "a"(number), "b"(rbx), "c"(rcx), "d"(rdx)
                     : "memory");
    return r;
}

static void cpuid(u32 leaf, u32 out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}

bool talk_init(void)
{
    u32 r[4];

    cpuid(PB_CPUID_SIGNATURE, r);
    if (memcmp(&r[1], "PatchbayVMM", 12) != 0)
        return false;
    return guest_call(PB_CALL_INFO, (u64)&self, 0, 0).status == PB_STATUS_OK;
}

const struct pb_info *guest_self(void)
{
    return &self;
}

s64 talk_find(const char *name)
{
    static struct pb_name wanted aligned_to(32);
    struct call_result r;

    memset(&wanted, 0, sizeof(wanted));
    memcpy(wanted.text, name, strnlen(name, sizeof(wanted.text) - 1));
    r = guest_call(PB_CALL_FIND, (u64)&wanted, 0, 0);
    return r.status == PB_STATUS_OK ? (s64)r.rbx : -1;
}

u64 talk_send(u32 to, u16 kind, u64 page, const void *data, u32 length)
{
    memset(&outgoing, 0, sizeof(outgoing));
    outgoing.sender = 0xBAD; /* identities are the hypervisor's to set: this must not arrive */
    outgoing.sequence = 0xBAD;
    outgoing.receiver = to;
    outgoing.kind = kind;
    outgoing.length = (u16)length;
    outgoing.flags = PB_FLAG_NOTIFY;
    outgoing.page = page;
    memcpy(outgoing.data, data, length);
    return guest_call(PB_CALL_SEND, (u64)&outgoing, 0, 0).status;
}

u64 talk_receive(struct pb_message *to, u64 microseconds)
{
    u64 status =
        guest_call(PB_CALL_RECEIVE, (u64)&incoming, microseconds ? PB_RECEIVE_BLOCK : 0, microseconds).status;

    if (status == PB_STATUS_OK)
        *to = incoming;
    return status;
}

const char *status_text(u64 status)
{
    static const char *const texts[PB_STATUS_COUNT] = {
        [PB_STATUS_OK] = "ok",
        [PB_STATUS_UNKNOWN_CALL] = "unknown call",
        [PB_STATUS_BAD_ADDRESS] = "bad address",
        [PB_STATUS_BAD_KIND] = "bad kind",
        [PB_STATUS_NO_SUCH_VM] = "no such VM",
        [PB_STATUS_VM_DEAD] = "the VM has stopped",
        [PB_STATUS_NO_CHANNEL] = "no channel",
        [PB_STATUS_NOT_PERMITTED] = "not permitted by the channel",
        [PB_STATUS_QUEUE_FULL] = "queue full",
        [PB_STATUS_EMPTY] = "empty",
        [PB_STATUS_NO_LANDING] = "no landing page offered",
        [PB_STATUS_BAD_PAGE] = "bad page",
        [PB_STATUS_PAGE_EMPTY] = "the page is not there",
        [PB_STATUS_PAGE_SHARED] = "the page is shared",
        [PB_STATUS_PAGE_BUSY] = "page busy",
        [PB_STATUS_SLOT_IN_USE] = "slot in use",
        [PB_STATUS_FULL] = "full",
        [PB_STATUS_TIMED_OUT] = "timed out",
        [PB_STATUS_INTERRUPTED] = "interrupted",
    };

    return status < PB_STATUS_COUNT && texts[status] ? texts[status] : "another status";
}

void talk_arm(u8 vector)
{
    u32 r[4];
    u64 status;

    cpuid(1, r);
    lapic_x2apic = (r[2] & CPUID_1_X2APIC) != 0;
    if (lapic_x2apic) {
        msr_put(MSR_APIC_BASE, msr_get(MSR_APIC_BASE) | APIC_BASE_X2);
        msr_put(MSR_X2APIC_SVR, SVR_ENABLE);
    } else {
        *(volatile u32 *)XAPIC_SVR = SVR_ENABLE;
    }
    status = guest_call(PB_CALL_SETUP, (u64)&inbox, vector, PB_SETUP_INBOX).status;
    if (status != PB_STATUS_OK) {
        say("demo: FAIL setting up the inbox: %s", status_text(status));
        guest_exit(4);
    }
}

void lapic_end_of_interrupt(void)
{
    if (lapic_x2apic)
        msr_put(MSR_X2APIC_EOI, 0);
    else
        *(volatile u32 *)XAPIC_EOI = 0;
}

bool talk_inbox_ready(void)
{
    return __atomic_load_n(&inbox.write, __ATOMIC_ACQUIRE) != inbox.read;
}

bool talk_inbox(struct pb_message *to)
{
    u32 read = inbox.read;

    if (!talk_inbox_ready())
        return false;
    *to = inbox.message[read % PB_INBOX_DEPTH];
    __atomic_store_n(&inbox.read, read + 1, __ATOMIC_RELEASE);
    return true;
}
