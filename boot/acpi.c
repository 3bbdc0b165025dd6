/* acpi.c - RSDP -> XSDT or RSDT -> MADT, FADT. Offsets are those of ACPI 6.4 5.2. */
#include "boot/acpi.h"
#include "arch/string.h"

#define RSDP_LENGTH_V1 20u
#define RSDP_LENGTH_V2 36u
#define RSDP_MAX       256u
#define RSDP_REVISION  15u
#define RSDP_RSDT      16u
#define RSDP_LENGTH    20u
#define RSDP_XSDT      24u

#define HEADER_LENGTH       36u
#define HEADER_LENGTH_FIELD 4u
#define TABLE_MAX           (1u << 20)
#define TABLES_MAX          1024u

#define MADT_ENTRIES         44u
#define MADT_LOCAL_APIC      0u
#define MADT_LOCAL_APIC_SIZE 8u
#define MADT_IOAPIC          1u
#define MADT_IOAPIC_SIZE     12u
#define MADT_X2APIC          9u
#define MADT_X2APIC_SIZE     16u
#define MADT_MAX_ENTRY       255u
#define MADT_ENABLED         1u
#define XAPIC_ID_BROADCAST   0xFFu
#define X2APIC_ID_BROADCAST  0xFFFFFFFFu

#define FADT_PM_TMR_BLK   76u
#define FADT_X_PM_TMR_BLK 208u
#define GAS_LENGTH        12u
#define GAS_SYSTEM_IO     1u
#define PORT_MAX          0xFFFFu

struct table {
    u64 address;
    u32 length;
};

static bool read(const struct acpi_source *s, u64 address, void *to, size_t bytes)
{
    return address && address + bytes > address && s->read(s->ctx, address, to, bytes);
}

static u64 field(const u8 *at, size_t bytes)
{
    u64 value = 0;

    for (size_t i = 0; i < bytes; i++)
        value |= (u64)at[i] << 8 * i;
    return value;
}

/* Do all bytes of [address, address + length) add up to 0? */
static bool sums_to_zero(const struct acpi_source *s, u64 address, u32 length)
{
    u8 piece[64], sum = 0;

    for (u32 done = 0; done < length;) {
        u32 n = MIN(length - done, (u32)sizeof(piece));
        if (!read(s, address + done, piece, n))
            return false;
        for (u32 i = 0; i < n; i++)
            sum = (u8)(sum + piece[i]);
        done += n;
    }
    return sum == 0;
}

/* Checks length and checksum of the table at this address; signature gets its four letters. */
static bool open_table(const struct acpi_source *s, u64 address, struct table *t, char signature[4])
{
    u8 header[HEADER_LENGTH];

    if (!read(s, address, header, sizeof(header)))
        return false;
    *t = (struct table){address, (u32)field(header + HEADER_LENGTH_FIELD, 4)};
    memcpy(signature, header, 4);
    return t->length >= HEADER_LENGTH && t->length <= TABLE_MAX && sums_to_zero(s, address, t->length);
}

/* Root table of the RSDP: XSDT (8-byte entries) if it has a good one, else RSDT (4-byte entries). */
static bool open_root(const struct acpi_source *s, u64 rsdp, struct table *root, u32 *entry_size)
{
    u8 r[RSDP_LENGTH_V2] = {0};
    char signature[4];

    if (!read(s, rsdp, r, RSDP_LENGTH_V1) || memcmp(r, "RSD PTR ", 8) != 0 ||
        !sums_to_zero(s, rsdp, RSDP_LENGTH_V1))
        return false;
    if (r[RSDP_REVISION] >= 2 && read(s, rsdp, r, RSDP_LENGTH_V2)) {
        u64 length = field(r + RSDP_LENGTH, 4);
        *entry_size = 8;
        if (length >= RSDP_LENGTH_V2 && length <= RSDP_MAX && sums_to_zero(s, rsdp, (u32)length) &&
            open_table(s, field(r + RSDP_XSDT, 8), root, signature) && memcmp(signature, "XSDT", 4) == 0)
            return true;
    }
    *entry_size = 4;
    return open_table(s, field(r + RSDP_RSDT, 4), root, signature) && memcmp(signature, "RSDT", 4) == 0;
}

static void add_cpu(struct acpi_info *info, u32 apic_id, u32 flags, u32 broadcast)
{
    if (apic_id == broadcast || !(flags & MADT_ENABLED)) {
        info->disabled++;
        return;
    }
    for (u32 i = 0; i < info->cpu_count; i++)
        if (info->apic_ids[i] == apic_id)
            return;
    if (info->cpu_count == ACPI_MAX_CPUS)
        info->not_listed++;
    else
        info->apic_ids[info->cpu_count++] = apic_id;
}

static void add_ioapic(struct acpi_info *info, u64 address)
{
    if (address && info->ioapic_count < ACPI_MAX_IOAPICS)
        info->ioapics[info->ioapic_count++] = address;
}

static enum err damaged(struct acpi_info *info, const char *why)
{
    info->why = why;
    return ERR_BAD_IMAGE;
}

static enum err read_madt(const struct acpi_source *s, const struct table *t, struct acpi_info *info)
{
    u8 e[MADT_MAX_ENTRY];

    for (u32 at = MADT_ENTRIES; at < t->length; at += e[1]) {
        if (t->length - at < 2 || !read(s, t->address + at, e, 2) || e[1] < 2 || e[1] > t->length - at ||
            !read(s, t->address + at + 2, e + 2, e[1] - 2u))
            return damaged(info, "an entry of the MADT has a wrong length");
        if (e[0] == MADT_LOCAL_APIC && e[1] >= MADT_LOCAL_APIC_SIZE)
            add_cpu(info, e[3], (u32)field(e + 4, 4), XAPIC_ID_BROADCAST);
        else if (e[0] == MADT_IOAPIC && e[1] >= MADT_IOAPIC_SIZE)
            add_ioapic(info, field(e + 4, 4));
        else if (e[0] == MADT_X2APIC && e[1] >= MADT_X2APIC_SIZE)
            add_cpu(info, (u32)field(e + 4, 4), (u32)field(e + 8, 4), X2APIC_ID_BROADCAST);
    }
    return info->cpu_count ? ERR_OK : damaged(info, "the MADT lists no enabled CPU");
}

static void read_fadt(const struct acpi_source *s, const struct table *t, struct acpi_info *info)
{
    u8 block[GAS_LENGTH];
    u64 port = 0;

    if (t->length >= FADT_PM_TMR_BLK + 4 && read(s, t->address + FADT_PM_TMR_BLK, block, 4))
        port = field(block, 4);
    if (t->length >= FADT_X_PM_TMR_BLK + GAS_LENGTH &&
        read(s, t->address + FADT_X_PM_TMR_BLK, block, GAS_LENGTH) && block[0] == GAS_SYSTEM_IO &&
        field(block + 4, 8))
        port = field(block + 4, 8);
    info->pm_timer = port <= PORT_MAX ? (u16)port : 0;
}

enum err acpi_read(const struct acpi_source *s, u64 rsdp, struct acpi_info *info)
{
    enum err result = ERR_NOT_FOUND;
    struct table root, t;
    u32 entry_size;
    char signature[4];

    memset(info, 0, sizeof(*info));
    info->why = "";
    if (!open_root(s, rsdp, &root, &entry_size))
        return damaged(info, "RSDP, XSDT and RSDT: length or checksum wrong");
    u32 entries = MIN((root.length - HEADER_LENGTH) / entry_size, TABLES_MAX);
    for (u32 i = 0; i < entries; i++) {
        u8 pointer[8];
        if (!read(s, root.address + HEADER_LENGTH + i * entry_size, pointer, entry_size))
            return damaged(info, "the list of tables is not in memory");
        bool good = open_table(s, field(pointer, entry_size), &t, signature);
        if (good && memcmp(signature, "FACP", 4) == 0)
            read_fadt(s, &t, info);
        else if (good && memcmp(signature, "APIC", 4) == 0 && result == ERR_NOT_FOUND)
            result = read_madt(s, &t, info);
    }
    if (result == ERR_NOT_FOUND)
        info->why = "no MADT with a right checksum";
    return result;
}
