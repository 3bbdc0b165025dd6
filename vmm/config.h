/*
 * config.h - patchbay.ini: parsed, checked, explained.
 *
 * Pure: text in, `struct config` and diagnostics out; the boot and the host tool tests/tools/patchbay-check
 * run this same code. Two steps, because they know different things:
 *
 *   config_parse()   what the text alone says: unknown keys, bad values, duplicates, undeclared VMs
 *   config_check()   what this machine and its disk say: missing files, memory, CPUs, what is supported
 *
 * Both report every error they find, one line each, in the form every editor can jump to:
 *
 *   EFI/patchbay/patchbay.ini:7:1: error: unknown key 'memroy' in [vm alpha]; did you mean 'memory'?
 *   EFI/patchbay/patchbay.ini:9:10: error: memory '12Q' is not a size; ...
 */
#pragma once
#include "arch/err.h"
#include "arch/types.h"

#define CONFIG_MAX_VMS      16
#define CONFIG_MAX_VCPUS    64 /* of one VM, and of all VMs together */
#define CONFIG_MAX_CPUS     64
#define CONFIG_MAX_CHANNELS 120  /* every pair of 16 VMs */
#define CONFIG_MAX_MODULES  8    /* of one VM */
#define CONFIG_MAX_NAME     16   /* of a VM, with its final zero */
#define CONFIG_MAX_PATH     96   /* as BOOT_MAX_PATH, with its final zero */
#define CONFIG_MAX_ARGS     96   /* of one module, with its final zero */
#define CONFIG_MAX_LINE     1024 /* bytes of one line, without its end */
#define CONFIG_MAX_CMDLINE  1024 /* with its final zero */
#define CONFIG_MAX_DEPTH    48
#define CONFIG_MIN_MEMORY   (4 * MIB)
#define CONFIG_MAX_MEMORY   (64 * GIB)
#define CONFIG_MAX_TEXT     (64 * KIB)

#define CONFIG_DEFAULT_MEMORY (64 * MIB)
#define CONFIG_DEFAULT_DEPTH  16
#define CONFIG_BUILTIN_PREFIX "builtin:" /* a kernel that is in the hypervisor itself: vmm/load_builtin.h */
#define CONFIG_NO_VM          0xFFu

enum config_machine_key {
#define MACHINE_KEY(id, name, takes, parser, min, max) CONFIG_MACHINE_##id,
#define VM_KEY(id, name, takes, parser, min, max)
#define CHANNEL_KEY(id, name, takes, parser, min, max)
#include "vmm/config_keys.def"
    CONFIG_MACHINE_KEYS
};
enum config_vm_key {
#define MACHINE_KEY(id, name, takes, parser, min, max)
#define VM_KEY(id, name, takes, parser, min, max) CONFIG_VM_##id,
#define CHANNEL_KEY(id, name, takes, parser, min, max)
#include "vmm/config_keys.def"
    CONFIG_VM_KEYS
};
enum config_channel_key {
#define MACHINE_KEY(id, name, takes, parser, min, max)
#define VM_KEY(id, name, takes, parser, min, max)
#define CHANNEL_KEY(id, name, takes, parser, min, max) CONFIG_CHANNEL_##id,
#include "vmm/config_keys.def"
    CONFIG_CHANNEL_KEYS
};

enum config_format { FORMAT_AUTO, FORMAT_LINUX, FORMAT_MULTIBOOT, FORMAT_ELF, FORMAT_FLAT };
enum config_log { LOG_QUIET, LOG_NORMAL, LOG_DEBUG };
enum config_audit { CONFIG_AUDIT_OFF, CONFIG_AUDIT_ON, CONFIG_AUDIT_EVERY };
enum config_console { CONSOLE_SERIAL = 1, CONSOLE_SCREEN = 2, CONSOLE_BOTH = 3 };
enum config_shadow { SHADOW_PER_VCPU, SHADOW_SHARED };
enum config_paging { PAGING_SHADOW, PAGING_EPT };
enum config_unpaged { UNPAGED_EPT, UNPAGED_SHADOW };

/* Channel modes, a mask. */
enum config_mode {
    CONFIG_MODE_MESSAGE = 1 << 0, /* always set in a declared channel */
    CONFIG_MODE_SHARE_RO = 1 << 1,
    CONFIG_MODE_SHARE_RW = 1 << 2,
    CONFIG_MODE_LEND = 1 << 3,
    CONFIG_MODE_DONATE = 1 << 4,
};

struct config_module {
    char path[CONFIG_MAX_PATH];
    char args[CONFIG_MAX_ARGS];
};

struct vm_config {
    char name[CONFIG_MAX_NAME];
    char kernel[CONFIG_MAX_PATH];
    char initrd[CONFIG_MAX_PATH]; /* "" if none */
    struct config_module modules[CONFIG_MAX_MODULES];
    u32 module_count;
    char cmdline[CONFIG_MAX_CMDLINE];
    enum config_format format;
    u64 memory; /* bytes, a multiple of 4 KiB */
    u32 vcpus;
    u64 cpus; /* mask of the CPUs it may run on; 0 = any */
    enum config_shadow shadow;
    enum config_paging paging;
    enum config_unpaged unpaged;
    bool restart;
    bool testdev;
    u32 line;               /* of the section */
    u32 at[CONFIG_VM_KEYS]; /* line of each key, 0 where the default stands */
};

struct channel_config {
    u8 a, b;   /* indices of VMs, either direction; CONFIG_NO_VM after an error */
    u32 modes; /* enum config_mode */
    u32 depth;
    u32 line;
    u32 at[CONFIG_CHANNEL_KEYS];
    char name_a[CONFIG_MAX_NAME], name_b[CONFIG_MAX_NAME];
};

struct config {
    enum config_console console;
    enum config_log log;
    bool exit;
    enum config_audit audit;
    char keyboard[CONFIG_MAX_NAME]; /* "" = the first VM */
    u8 escape;                      /* the control character, 1..26; default 1 (ctrl-a) */
    u32 at[CONFIG_MACHINE_KEYS];
    struct vm_config vms[CONFIG_MAX_VMS];
    u32 vm_count;
    struct channel_config channels[CONFIG_MAX_CHANNELS];
    u32 channel_count;
};

/* Where finished lines go (no newline at their end). `bad_vms` gathers a bit for each VM that an error
 * concerns, so that the others can be started; `errors` counts. Start with both zero. */
struct config_report {
    void (*line)(void *ctx, const char *text);
    void *ctx;
    const char *file; /* shown in front of each line */
    u32 errors;
    u32 bad_vms;
};

/*
 * Parses `size` bytes at `text` into *config, which is large: keep it static. Everything that is wrong is
 * reported; *config holds what could be understood (defaults elsewhere) so that files can still be listed.
 * OK, or INVALID if there was any error.
 *
 * In the hypervisor call config_parse_boot() (vmm/inih_shim.h) instead: the prebuilt inih reads a stack
 * guard through FS, which needs a base there.
 */
enum err config_parse(const char *text, size_t size, struct config *config,
                      struct config_report *report) must_check;

/* Calls found() once for each file that is to be read from the partition, in order of appearance, without
 * repeats and without builtin: names. */
void config_list_files(const struct config *config, void (*found)(void *ctx, const char *path, u32 line),
                       void *ctx);

/* What the machine has and what this version of the hypervisor supports. */
struct platform_support {
    u32 cpus;                                    /* that run VMs */
    u64 memory;                                  /* bytes free for guests */
    u64 (*overhead)(const struct vm_config *vm); /* bytes it costs besides its own memory; NULL: none */
    u32 max_vcpus;                               /* of one VM, by this version */
    bool ept;                                    /* every CPU has it, as the EPT of a VM needs it */
    bool restart;                                /* this version supports restart = on */
    u32 modes;                                   /* enum config_mode that this version supports */
    /* Size of a file, or why it cannot be read. */
    enum err (*file_size)(void *ctx, const char *path, u64 *size);
    void *ctx;
};

/* Fills the fields that depend on this version of Patchbay alone; the boot and patchbay-check both start so.
 */
void config_this_version(struct platform_support *have);

/* Checks a parsed configuration against a machine. OK, or INVALID if anything was reported. */
enum err config_check(const struct config *config, const struct platform_support *have,
                      struct config_report *report) must_check;

/* Index of a VM by name, CONFIG_NO_VM if there is none. */
u32 config_find_vm(const struct config *config, const char *name);

/* Prints every key and what it takes through report->line (`patchbay-check --keys`). */
void config_describe_keys(struct config_report *report);
