/* patchbay-check.c - checks a patchbay.ini on the host with the hypervisor's own parser and words. */
#include "vmm/config.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum exit_code { EXIT_GOOD, EXIT_ERRORS, EXIT_USAGE };

static const char help[] =
    "usage: patchbay-check [options] PATCHBAY.INI\n"
    "\n"
    "Checks a configuration as the boot would, and prints the same errors: file:line:column: error: what is\n"
    "wrong; what to do.\n"
    "\n"
    "  --esp DIR      look for kernels and other files there, as on the EFI system partition; without it "
    "they\n"
    "                 are looked for where the configuration lies, if that is .../EFI/patchbay/\n"
    "  --cpus N       the machine has N CPUs (1 to 64)\n"
    "  --memory SIZE  the machine has SIZE of memory free for VMs, such as 3G\n"
    "  --no-ept       the machine's CPUs have no EPT\n"
    "  --quiet        say nothing if all is well\n"
    "  --keys         list all sections and keys\n"
    "  --help         this text\n"
    "\n"
    "What is not given is not checked. Exit code: 0 all is well, 1 errors in the configuration, 2 it could "
    "not\n"
    "be checked.\n"
    "\n"
    "Example: patchbay-check --cpus 4 --memory 8G --esp /boot/efi /boot/efi/EFI/patchbay/patchbay.ini\n";

struct options {
    const char *file;
    char esp[4096]; /* "": files are not checked */
    u64 cpus, memory;
    bool no_ept, quiet;
};

static void print_line(void *ctx, const char *text)
{
    fprintf(ctx, "%s\n", text);
}

/* The entry of a folder by its name in any case, as on FAT; appended to `path`. */
static bool append_entry(char *path, size_t size, const char *name, size_t length)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir))) {
        if (strlen(entry->d_name) == length && strncasecmp(entry->d_name, name, length) == 0) {
            size_t used = strlen(path);

            found = (size_t)snprintf(path + used, size - used, "/%s", entry->d_name) < size - used;
        }
    }
    if (dir)
        closedir(dir);
    return found;
}

static enum err file_size(void *ctx, const char *name, u64 *size)
{
    const struct options *options = ctx;
    char path[8192];
    struct stat info;

    snprintf(path, sizeof(path), "%s", options->esp);
    while (*name) {
        size_t length = strcspn(name, "/\\");

        if (length && !append_entry(path, sizeof(path), name, length))
            return ERR_NOT_FOUND;
        name += length + (name[length] != 0);
    }
    if (stat(path, &info) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    *size = (u64)info.st_size;
    return S_ISREG(info.st_mode) ? ERR_OK : ERR_IO;
}

static enum err any_size(void *ctx, const char *name, u64 *size)
{
    (void)ctx;
    (void)name;
    *size = 1;
    return ERR_OK;
}

static bool read_number(const char *text, u64 *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno || end == text || *text == '-')
        return false;
    for (const char *units = "KMG"; *units && *end; units++) {
        if (*end == *units || *end == *units + ('a' - 'A')) {
            *out <<= 10 * (unsigned)(strchr("KMG", *units) - "KMG" + 1);
            end++;
            break;
        }
    }
    return *end == 0;
}

/* The partition's root if the file is in EFI/patchbay/ on it. */
static void guess_esp(struct options *options)
{
    static const char usual[] = "EFI/patchbay/";
    const char *slash = strrchr(options->file, '/');
    size_t folder = slash ? (size_t)(slash - options->file) + 1 : 0, tail = sizeof(usual) - 1;

    if (options->esp[0] || folder < tail || strncasecmp(options->file + folder - tail, usual, tail) != 0)
        return;
    folder -= tail;
    if (folder && options->file[folder - 1] != '/')
        return;
    snprintf(options->esp, sizeof(options->esp), "%.*s", folder ? (int)folder : 1,
             folder ? options->file : ".");
}

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "patchbay-check: %s%s%s; --help explains\n", what, value ? ": " : "", value ? value : "");
    return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"esp", required_argument, NULL, 'e'},    {"cpus", required_argument, NULL, 'c'},
        {"memory", required_argument, NULL, 'm'}, {"no-ept", no_argument, NULL, 'n'},
        {"quiet", no_argument, NULL, 'q'},        {"keys", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    struct config_report keys = {.line = print_line, .ctx = stdout};
    int c;

    while ((c = getopt_long(argc, argv, "hq", names, NULL)) != -1) {
        switch (c) {
        case 'e': snprintf(options->esp, sizeof(options->esp), "%s", optarg); break;
        case 'c':
            if (!read_number(optarg, &options->cpus) || options->cpus < 1 || options->cpus > CONFIG_MAX_CPUS)
                return usage("--cpus takes a number from 1 to 64", optarg);
            break;
        case 'm':
            if (!read_number(optarg, &options->memory))
                return usage("--memory takes a size such as 3G", optarg);
            break;
        case 'n': options->no_ept = true; break;
        case 'q': options->quiet = true; break;
        case 'k': config_describe_keys(&keys); return EXIT_GOOD;
        case 'h': fputs(help, stdout); return EXIT_GOOD;
        default: return usage("nothing checked", NULL); /* getopt has said why */
        }
    }
    if (optind + 1 != argc)
        return usage(optind < argc ? "more than one file" : "no file", NULL);
    options->file = argv[optind];
    return -1;
}

static char *read_file(const char *name, size_t *size)
{
    char *text = malloc(CONFIG_MAX_TEXT + 1);
    FILE *file = fopen(name, "rb");

    *size = file && text ? fread(text, 1, CONFIG_MAX_TEXT + 1, file) : 0;
    if (!file || ferror(file)) {
        fprintf(stderr, "patchbay-check: %s: %s\n", name, strerror(errno));
        free(text);
        text = NULL;
    }
    if (file)
        fclose(file);
    return text;
}

static void print_summary(const struct config *config, const struct options *options)
{
    printf("%s: good: %u VM%s", options->file, config->vm_count, config->vm_count == 1 ? "" : "s");
    for (u32 i = 0; i < config->vm_count; i++)
        printf("%s%s (%llu MiB)", i ? ", " : ": ", config->vms[i].name,
               (unsigned long long)(config->vms[i].memory / MIB));
    printf("; %u channel%s", config->channel_count, config->channel_count == 1 ? "" : "s");
    printf("%s\n", options->esp[0] ? "" : "; files not looked for (--esp DIR)");
}

int main(int argc, char **argv)
{
    static struct config config;
    struct options options = {.cpus = CONFIG_MAX_CPUS, .memory = UINT64_MAX};
    int code = read_options(argc, argv, &options);
    struct config_report report = {.line = print_line, .ctx = stderr, .file = options.file};
    struct platform_support have = {.ctx = &options};
    size_t size;
    char *text;

    if (code >= 0)
        return code;
    text = read_file(options.file, &size);
    if (!text)
        return EXIT_USAGE;
    guess_esp(&options);
    config_this_version(&have);
    have.cpus = (u32)options.cpus;
    have.memory = options.memory;
    have.ept = !options.no_ept;
    have.file_size = options.esp[0] ? file_size : any_size;
    /* Each reports all it finds; the report counts. */
    (void)!config_parse(text, size, &config, &report);
    (void)!config_check(&config, &have, &report);
    free(text);
    if (report.errors)
        fprintf(stderr, "%s: %u error%s\n", options.file, report.errors, report.errors == 1 ? "" : "s");
    else if (!options.quiet)
        print_summary(&config, &options);
    return report.errors ? EXIT_ERRORS : EXIT_GOOD;
}
