/* vacpi_tables.c - RSDP, XSDT, FADT, FACS, MADT and DSDT for guests. ACPI 6.4 chapter 5. */
#include "arch/string.h"
#include "vmm/dev/platform.h"

/* unsigned char dsdt_aml_code[] */
#include "vmm/dev/dsdt.hex"

struct acpi_header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem_id[6], oem_table[8];
    u32 oem_revision;
    char creator[4];
    u32 creator_revision;
} packed_layout;

struct acpi_rsdp {
    char signature[8];
    u8 checksum; /* of the first 20 bytes */
    char oem_id[6];
    u8 revision;
    u32 rsdt, length;
    u64 xsdt;
    u8 extended_checksum, reserved[3];
} packed_layout;

struct acpi_address {
    u8 space, width, offset, access;
    u64 address;
} packed_layout;

struct acpi_fadt {
    struct acpi_header h;
    u32 facs, dsdt;
    u8 reserved0, profile;
    u16 sci_irq;
    u32 smi_command;
    u8 acpi_enable, acpi_disable, s4bios, pstate;
    u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    u8 pm1_event_len, pm1_control_len, pm2_control_len, pm_timer_len, gpe0_len, gpe1_len, gpe1_base, cstate;
    u16 c2_latency, c3_latency, flush_size, flush_stride;
    u8 duty_offset, duty_width, day_alarm, month_alarm, century;
    u16 boot_flags;
    u8 reserved1;
    u32 flags;
    struct acpi_address reset;
    u8 reset_value;
    u16 arm_flags;
    u8 minor;
    u64 x_facs, x_dsdt;
    struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer,
        x_gpe0, x_gpe1, sleep_control, sleep_status;
    u64 hypervisor;
} packed_layout;

struct acpi_facs {
    char signature[4];
    u32 length, hardware_signature, waking_vector, lock, flags;
    u64 x_waking_vector;
    u8 version, reserved[31];
} packed_layout;

struct acpi_madt {
    struct acpi_header h;
    u32 lapic;
    u32 flags;
} packed_layout;

struct madt_lapic {
    u8 type, length, processor, apic_id;
    u32 flags;
} packed_layout;

struct madt_ioapic {
    u8 type, length, id, reserved;
    u32 address, first_gsi;
} packed_layout;

struct madt_override {
    u8 type, length, bus, irq;
    u32 gsi;
    u16 flags;
} packed_layout;

struct madt_nmi {
    u8 type, length, processor;
    u16 flags;
    u8 lint;
} packed_layout;

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI table header");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT of ACPI 6");
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT");
_Static_assert(offsetof(struct acpi_fadt, flags) == 112 && offsetof(struct acpi_fadt, reset) == 116, "FADT");
_Static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "FADT");

#define OEM_ID              "PATCHB"
#define OEM_TABLE           "PATCHBAY"
#define CREATOR             "PBAY"
#define RSDP_REVISION       2
#define FADT_REVISION       6
#define MADT_REVISION       4
#define SPACE_IO            1
#define ACCESS_BYTE         1
#define ACCESS_WORD         2
#define ACCESS_DWORD        3
#define FADT_WBINVD         BIT(0)
#define FADT_C1             BIT(2)
#define FADT_SLEEP_BUTTON   BIT(5) /* "not a fixed one" */
#define FADT_NO_RTC_WAKE    BIT(6)
#define FADT_TIMER_32BIT    BIT(8)
#define FADT_RESET          BIT(10)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_NO_VGA         BIT(2)
#define BOOT_NO_MSI         BIT(3)
#define BOOT_NO_ASPM        BIT(4)
#define NO_C2               0x65
#define NO_C3               0x3E9
#define RTC_CENTURY         0x32
#define RESET_PORT          0xCF9
#define RESET_VALUE         0x06
#define MADT_PCAT_COMPAT    1 /* there is an 8259 pair, too */
#define MADT_LAPIC          0
#define MADT_IOAPIC         1
#define MADT_OVERRIDE       2
#define MADT_LAPIC_NMI      4
#define MADT_ENABLED        1
#define MADT_ALL_CPUS       0xFF
#define MADT_LEVEL_HIGH     0xD /* active high, level */
#define PIT_GSI             2
#define TABLE_ALIGN         64ull
#define TABLE_COUNT         2 /* FADT and MADT, listed in the XSDT */

struct builder {
    u8 *buf;
    u64 base, size, used;
    bool full;
};

/* Room for a table: its address in our memory; *gpa where the guest finds it. */
static void *reserve(struct builder *b, u64 size, u64 *gpa)
{
    u64 at = ALIGN_UP(b->used, TABLE_ALIGN);
    if (b->full || at > b->size || size > b->size - at) {
        b->full = true;
        return NULL;
    }
    b->used = at + size;
    *gpa = b->base + at;
    return b->buf + at;
}

static u8 checksum(const void *p, u64 size)
{
    u8 sum = 0;
    for (u64 i = 0; i < size; i++)
        sum = (u8)(sum + ((const u8 *)p)[i]);
    return (u8)-sum;
}

static void finish(struct acpi_header *h, const char *signature, u8 revision, u64 length)
{
    memcpy(h->signature, signature, sizeof h->signature);
    h->length = (u32)length;
    h->revision = revision;
    memcpy(h->oem_id, OEM_ID, sizeof h->oem_id);
    memcpy(h->oem_table, OEM_TABLE, sizeof h->oem_table);
    h->oem_revision = 1;
    memcpy(h->creator, CREATOR, sizeof h->creator);
    h->creator_revision = 1;
    h->checksum = 0;
    h->checksum = checksum(h, length);
}

static struct acpi_address io_address(u64 port, u8 bytes, u8 access)
{
    return (struct acpi_address){.space = SPACE_IO, .width = bytes * 8, .access = access, .address = port};
}

static void build_fadt(struct acpi_fadt *f, u64 facs, u64 dsdt)
{
    f->facs = (u32)facs;
    f->dsdt = (u32)dsdt;
    f->x_dsdt = dsdt;
    f->sci_irq = VACPI_SCI_IRQ;
    f->pm1a_event = VACPI_PM1_EVENT;
    f->pm1_event_len = 4;
    f->pm1a_control = VACPI_PM1_CONTROL;
    f->pm1_control_len = 2;
    f->pm_timer = VACPI_PM_TIMER;
    f->pm_timer_len = 4;
    f->x_pm1a_event = io_address(VACPI_PM1_EVENT, 4, ACCESS_WORD);
    f->x_pm1a_control = io_address(VACPI_PM1_CONTROL, 2, ACCESS_WORD);
    f->x_pm_timer = io_address(VACPI_PM_TIMER, 4, ACCESS_DWORD);
    f->c2_latency = NO_C2;
    f->c3_latency = NO_C3;
    f->century = RTC_CENTURY;
    f->boot_flags = BOOT_LEGACY_DEVICES | BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM; /* and no 8042 */
    f->flags = FADT_WBINVD | FADT_C1 | FADT_SLEEP_BUTTON | FADT_NO_RTC_WAKE | FADT_TIMER_32BIT | FADT_RESET;
    f->reset = io_address(RESET_PORT, 1, ACCESS_BYTE);
    f->reset_value = RESET_VALUE;
    finish(&f->h, "FACP", FADT_REVISION, sizeof *f);
}

static u64 madt_size(u32 vcpus)
{
    return sizeof(struct acpi_madt) + vcpus * sizeof(struct madt_lapic) + sizeof(struct madt_ioapic) +
           2 * sizeof(struct madt_override) + sizeof(struct madt_nmi);
}

static void build_madt(struct acpi_madt *m, u32 vcpus)
{
    u8 *p = (u8 *)(m + 1);
    m->lapic = (u32)VLAPIC_DEFAULT_BASE;
    m->flags = MADT_PCAT_COMPAT;
    for (u32 i = 0; i < vcpus; i++, p += sizeof(struct madt_lapic))
        *(struct madt_lapic *)p =
            (struct madt_lapic){MADT_LAPIC, sizeof(struct madt_lapic), (u8)i, (u8)i, MADT_ENABLED};
    *(struct madt_ioapic *)p =
        (struct madt_ioapic){MADT_IOAPIC, sizeof(struct madt_ioapic), VIOAPIC_ID, 0, (u32)VIOAPIC_BASE, 0};
    p += sizeof(struct madt_ioapic);
    *(struct madt_override *)p =
        (struct madt_override){MADT_OVERRIDE, sizeof(struct madt_override), 0, 0, PIT_GSI, 0};
    p += sizeof(struct madt_override);
    *(struct madt_override *)p = (struct madt_override){
        MADT_OVERRIDE, sizeof(struct madt_override), 0, VACPI_SCI_IRQ, VACPI_SCI_IRQ, MADT_LEVEL_HIGH};
    p += sizeof(struct madt_override);
    *(struct madt_nmi *)p = (struct madt_nmi){MADT_LAPIC_NMI, sizeof(struct madt_nmi), MADT_ALL_CPUS, 0, 1};
    finish(&m->h, "APIC", MADT_REVISION, madt_size(vcpus));
}

static void build_rsdp(struct acpi_rsdp *r, u64 xsdt)
{
    memcpy(r->signature, "RSD PTR ", sizeof r->signature);
    memcpy(r->oem_id, OEM_ID, sizeof r->oem_id);
    r->revision = RSDP_REVISION;
    r->length = sizeof *r;
    r->xsdt = xsdt;
    r->checksum = checksum(r, offsetof(struct acpi_rsdp, length));
    r->extended_checksum = checksum(r, sizeof *r);
}

enum err vacpi_build(u8 *buf, u64 size, gpa_t base, u32 vcpus, gpa_t *rsdp)
{
    struct builder b = {.buf = buf, .base = base.v, .size = size};
    u64 at[6];
    u64 xsdt_size = sizeof(struct acpi_header) + TABLE_COUNT * sizeof(u64);

    if (vcpus == 0 || vcpus > VPLAT_MAX_VCPUS || base.v % TABLE_ALIGN || base.v + size > 4 * GIB)
        return ERR_RANGE;
    struct acpi_rsdp *r = reserve(&b, sizeof *r, &at[0]);
    struct acpi_header *xsdt = reserve(&b, xsdt_size, &at[1]);
    struct acpi_fadt *fadt = reserve(&b, sizeof *fadt, &at[2]);
    struct acpi_facs *facs = reserve(&b, sizeof *facs, &at[3]);
    struct acpi_madt *madt = reserve(&b, madt_size(vcpus), &at[4]);
    u8 *dsdt = reserve(&b, sizeof(dsdt_aml_code), &at[5]);
    if (b.full)
        return ERR_RANGE;

    memset(buf, 0, b.used);
    memcpy(dsdt, dsdt_aml_code, sizeof(dsdt_aml_code));
    memcpy(facs->signature, "FACS", sizeof facs->signature);
    facs->length = sizeof *facs;
    facs->version = 2;
    build_fadt(fadt, at[3], at[5]);
    build_madt(madt, vcpus);
    memcpy(xsdt + 1, &at[2], sizeof(u64));
    memcpy((u8 *)(xsdt + 1) + sizeof(u64), &at[4], sizeof(u64));
    finish(xsdt, "XSDT", 1, xsdt_size);
    build_rsdp(r, at[1]);
    *rsdp = GPA(at[0]);
    return ERR_OK;
}
