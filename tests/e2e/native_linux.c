/*
 * native_linux.c - a UEFI application that starts \linux\vmlinuz by its own EFI stub, with the command line
 * in \linux\cmdline (ASCII, first line), and writes the time stamp counter to COM1 just before: "tsc
 * kernel-entry: N".
 *
 * It is the measure for Linux under Patchbay: same kernel, same initramfs, same emulator, no hypervisor.
 */
#include <efi.h>
#include <efilib.h>

#define PORT_COM1        0x3F8
#define COM1_LINE_STATUS (PORT_COM1 + 5)
#define COM1_CAN_SEND    0x20
#define CMDLINE_MAX      1024

static UINT8 port_in(UINT16 port)
{
    UINT8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void port_out(UINT16 port, UINT8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void put_string(const char *text)
{
    for (; *text; text++) {
        while (!(port_in(COM1_LINE_STATUS) & COM1_CAN_SEND))
            ;
        port_out(PORT_COM1, (UINT8)*text);
    }
}

static void put_number(UINT64 value)
{
    char digits[24];
    int at = sizeof digits;

    digits[--at] = 0;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    put_string(digits + at);
}

static UINT64 read_tsc(void)
{
    UINT32 low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high));
    return (UINT64)high << 32 | low;
}

static EFI_STATUS fail(const char *what, EFI_STATUS status)
{
    put_string("native_linux: ");
    put_string(what);
    put_string("\n");
    return status;
}

/* Reads the first line of \linux\cmdline, widened to the 16-bit characters that the EFI stub wants. */
static EFI_STATUS read_cmdline(EFI_HANDLE device, CHAR16 *out)
{
    char text[CMDLINE_MAX];
    UINTN size = sizeof text - 1, i;
    EFI_FILE_HANDLE root = LibOpenRoot(device), file;
    EFI_STATUS status;

    if (!root)
        return EFI_NOT_FOUND;
    status = root->Open(root, &file, L"\\linux\\cmdline", EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status))
        return status;
    status = file->Read(file, &size, text);
    if (EFI_ERROR(status))
        return status;
    for (i = 0; i < size && text[i] != '\n'; i++)
        out[i] = (CHAR16)text[i];
    out[i] = 0;
    return EFI_SUCCESS;
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
    static CHAR16 cmdline[CMDLINE_MAX];
    EFI_LOADED_IMAGE *own, *kernel;
    EFI_HANDLE image;
    EFI_STATUS status;

    InitializeLib(self, system);
    status = BS->HandleProtocol(self, &gEfiLoadedImageProtocolGuid, (void **)&own);
    if (EFI_ERROR(status))
        return fail("no LoadedImage", status);
    status = read_cmdline(own->DeviceHandle, cmdline);
    if (EFI_ERROR(status))
        return fail("cannot read \\linux\\cmdline", status);
    status =
        BS->LoadImage(FALSE, self, FileDevicePath(own->DeviceHandle, L"\\linux\\vmlinuz"), NULL, 0, &image);
    if (EFI_ERROR(status))
        return fail("cannot load \\linux\\vmlinuz", status);
    status = BS->HandleProtocol(image, &gEfiLoadedImageProtocolGuid, (void **)&kernel);
    if (EFI_ERROR(status))
        return fail("the kernel has no LoadedImage", status);
    kernel->LoadOptions = cmdline;
    kernel->LoadOptionsSize = (UINT32)((StrLen(cmdline) + 1) * sizeof *cmdline);
    put_string("tsc kernel-entry: ");
    put_number(read_tsc());
    put_string("\n");
    return fail("the kernel came back", BS->StartImage(image, NULL, NULL));
}
