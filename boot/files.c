/*
 * files.c - the configuration and the files it names, from the partition we were loaded from.
 * A file that cannot be read is no failure of the boot: vmm reports it and starts the other VMs.
 */
#include "arch/log.h"
#include "arch/string.h"
#include "boot/boot.h"

#define READ_PIECE  (1 * MIB) /* some firmware fails at reads of many MiB */
#define CONFIG_MAX  (1 * MIB)
#define ANY_ADDRESS (1ull << 46)

/* 'EFI/x' or '/EFI/x' -> L"EFI\x" */
static enum err firmware_path(const char *path, CHAR16 *to)
{
    size_t n = 0;

    while (*path == '/' || *path == '\\')
        path++;
    for (; path[n]; n++) {
        if (n + 1 == BOOT_MAX_PATH)
            return ERR_RANGE;
        to[n] = path[n] == '/' ? '\\' : (u8)path[n];
    }
    to[n] = 0;
    return n ? ERR_OK : ERR_NOT_FOUND;
}

static enum err open_root(struct boot *b, EFI_FILE_HANDLE *root)
{
    static EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
    static EFI_GUID volume_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
    EFI_LOADED_IMAGE *image = NULL;
    EFI_FILE_IO_INTERFACE *volume = NULL;

    if (EFI_ERROR(b->services->HandleProtocol(b->self, &image_guid, (void **)&image)) ||
        EFI_ERROR(b->services->HandleProtocol(image->DeviceHandle, &volume_guid, (void **)&volume)) ||
        EFI_ERROR(volume->OpenVolume(volume, root)))
        return ERR_NOT_FOUND;
    return ERR_OK;
}

/* Size by seeking to the end: works for files of any name length, unlike a fixed buffer for EFI_FILE_INFO. */
static enum err file_size(EFI_FILE_HANDLE file, u64 *size)
{
    UINT64 position = 0;

    if (EFI_ERROR(file->SetPosition(file, UINT64_MAX)) || EFI_ERROR(file->GetPosition(file, &position)) ||
        EFI_ERROR(file->SetPosition(file, 0)))
        return ERR_IO; /* a directory, for one */
    *size = position;
    return ERR_OK;
}

static enum err read_all(EFI_FILE_HANDLE file, u8 *to, u64 size)
{
    for (u64 done = 0; done < size;) {
        UINTN n = MIN(size - done, READ_PIECE);
        if (EFI_ERROR(file->Read(file, &n, to + done)) || n == 0)
            return ERR_IO;
        done += n;
    }
    return ERR_OK;
}

/* Reads a whole file into pages of its own, with a zero after its end. */
static enum err load(struct boot *b, EFI_FILE_HANDLE root, const char *path, u64 max, u8 **data, u64 *size)
{
    CHAR16 name[BOOT_MAX_PATH];
    EFI_FILE_HANDLE file;
    enum err e = firmware_path(path, name);

    if (e != ERR_OK)
        return e;
    if (EFI_ERROR(root->Open(root, &file, name, EFI_FILE_MODE_READ, 0)))
        return ERR_NOT_FOUND;
    e = file_size(file, size);
    if (e == ERR_OK && *size > max)
        e = ERR_RANGE;
    if (e == ERR_OK && !(*data = boot_allocate(b, *size + 1, ANY_ADDRESS)))
        e = ERR_NO_MEMORY;
    if (e == ERR_OK) {
        (*data)[*size] = 0;
        e = read_all(file, *data, *size);
    }
    file->Close(file);
    return e;
}

static void add_file(void *context, const char *path, u32 line)
{
    struct boot_info *info = &((struct boot *)context)->info;

    if (info->file_count == BOOT_MAX_FILES)
        return; /* vmm misses it and says so */
    struct boot_file *f = &info->files[info->file_count++];
    size_t n = strnlen(path, BOOT_MAX_PATH);
    f->config_line = line;
    f->err = n < BOOT_MAX_PATH ? ERR_OK : ERR_RANGE;
    memcpy(f->path, path, MIN(n, (size_t)BOOT_MAX_PATH - 1));
}

enum err boot_read_files(struct boot *b)
{
    struct boot_info *info = &b->info;
    EFI_FILE_HANDLE root;
    u8 *text = NULL;

    if (open_root(b, &root) != ERR_OK) {
        log_line("the firmware offers no file system on the boot device: going on without a configuration");
        return ERR_OK;
    }
    enum err e = load(b, root, BOOT_CONFIG_PATH, CONFIG_MAX, &text, &info->config_size);
    if (e == ERR_OK) {
        info->config_text = (const char *)text;
        vmm_list_files(info->config_text, info->config_size, add_file, b);
    } else if (e != ERR_NOT_FOUND) {
        log_line("%s: %s", BOOT_CONFIG_PATH, err_text(e));
        return e;
    }
    for (u32 i = 0; i < info->file_count; i++) {
        struct boot_file *f = &info->files[i];
        u8 *data = NULL;
        if (f->err == ERR_OK)
            f->err = load(b, root, f->path, UINT64_MAX / 2, &data, &f->size);
        f->data = f->err == ERR_OK ? data : NULL;
    }
    root->Close(root);
    return ERR_OK;
}
