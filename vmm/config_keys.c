/* config_keys.c - one parser per key of patchbay.ini. A parser reports what is wrong and returns false. */
#include "arch/format.h"
#include "arch/string.h"
#include "vmm/config_parser.h"

struct word_value {
    const char *word;
    u32 value;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool parse_word(struct config_parser *p, const struct config_key *key, const char *value,
                       const char *where, const struct word_value *words, u32 count, u32 *out)
{
    const char *nearest;

    for (u32 i = 0; i < count; i++) {
        if (strcmp(words[i].word, value) == 0) {
            *out = words[i].value;
            return true;
        }
    }
    nearest = config_nearest(value, words, sizeof(*words), count);
    if (nearest)
        config_error(p, where, "%s cannot be '%s'; did you mean '%s'?", key->name, config_clip(value).text,
                     nearest);
    else
        config_error(p, where, "%s cannot be '%s'; write %s", key->name, config_clip(value).text, key->takes);
    return false;
}

#define WORD_PARSER(function, target, type, ...)                                                   \
    static bool function(struct config_parser *p, const struct config_key *key, const char *value) \
    {                                                                                              \
        static const struct word_value words[] = {__VA_ARGS__};                                    \
        u32 got;                                                                                   \
                                                                                                   \
        if (!parse_word(p, key, value, value, words, ARRAY_SIZE(words), &got))                     \
            return false;                                                                          \
        target = (type)got;                                                                        \
        return true;                                                                               \
    }

#define ON_OFF                         \
    {"on", 1}, {"off", 0}, {"yes", 1}, \
    {                                  \
        "no", 0                        \
    }

WORD_PARSER(parse_console, p->config->console, enum config_console, {"serial", CONSOLE_SERIAL},
            {"screen", CONSOLE_SCREEN}, {"both", CONSOLE_BOTH})
WORD_PARSER(parse_log, p->config->log, enum config_log, {"quiet", LOG_QUIET}, {"normal", LOG_NORMAL},
            {"debug", LOG_DEBUG})
WORD_PARSER(parse_exit, p->config->exit, bool, ON_OFF)
WORD_PARSER(parse_audit, p->config->audit, enum config_audit, {"off", CONFIG_AUDIT_OFF},
            {"on", CONFIG_AUDIT_ON}, {"every", CONFIG_AUDIT_EVERY}, {"yes", CONFIG_AUDIT_ON},
            {"no", CONFIG_AUDIT_OFF})
WORD_PARSER(parse_format, p->vm->format, enum config_format, {"auto", FORMAT_AUTO}, {"linux", FORMAT_LINUX},
            {"multiboot", FORMAT_MULTIBOOT}, {"elf", FORMAT_ELF}, {"flat", FORMAT_FLAT})
WORD_PARSER(parse_shadow, p->vm->shadow, enum config_shadow, {"per-vcpu", SHADOW_PER_VCPU},
            {"shared", SHADOW_SHARED})
WORD_PARSER(parse_paging, p->vm->paging, enum config_paging, {"shadow", PAGING_SHADOW}, {"ept", PAGING_EPT})
WORD_PARSER(parse_unpaged, p->vm->unpaged, enum config_unpaged, {"ept", UNPAGED_EPT},
            {"shadow", UNPAGED_SHADOW})
WORD_PARSER(parse_restart, p->vm->restart, bool, ON_OFF)
WORD_PARSER(parse_testdev, p->vm->testdev, bool, ON_OFF)

static bool copy_text(struct config_parser *p, const struct config_key *key, const char *value, char *to,
                      size_t size)
{
    size_t n = strlen(value);

    if (n >= size) {
        config_error(p, value, "%s is %u bytes long; at most %u are possible", key->name, (unsigned)n,
                     (unsigned)(size - 1));
        return false;
    }
    memcpy(to, value, n + 1);
    return true;
}

static bool parse_keyboard(struct config_parser *p, const struct config_key *key, const char *value)
{
    return copy_text(p, key, value, p->config->keyboard, sizeof(p->config->keyboard));
}

static bool parse_escape(struct config_parser *p, const struct config_key *key, const char *value)
{
    char letter = 0;

    if (strlen(value) == 6 && memcmp(value, "ctrl-", 5) == 0)
        letter = lower(value[5]);
    if (letter < 'a' || letter > 'z') {
        config_error(p, value, "%s '%s' is not a control key; write ctrl-a to ctrl-z", key->name,
                     config_clip(value).text);
        return false;
    }
    p->config->escape = (u8)(letter - 'a' + 1);
    return true;
}

/* A path on the FAT partition: its characters, not whether it is there. */
static bool check_path(struct config_parser *p, const struct config_key *key, const char *path,
                       const char *where)
{
    static const char refused[] = "\"*:<>?|";

    for (const char *c = path; *c; c++) {
        for (const char *r = refused; *r; r++) {
            if (*c == *r) {
                config_error(p, where,
                             "%s '%s' has a '%c', which no file on the EFI system partition can have",
                             key->name, config_clip(path).text, *c);
                return false;
            }
        }
    }
    return true;
}

static bool parse_path(struct config_parser *p, const struct config_key *key, const char *value, char *to)
{
    return check_path(p, key, value, value) && copy_text(p, key, value, to, CONFIG_MAX_PATH);
}

static bool parse_kernel(struct config_parser *p, const struct config_key *key, const char *value)
{
    static const struct word_value builtins[] = {{CONFIG_BUILTIN_PREFIX "alpha", 0},
                                                 {CONFIG_BUILTIN_PREFIX "beta", 1}};
    size_t prefix = strlen(CONFIG_BUILTIN_PREFIX);
    u32 which;

    if (strlen(value) >= prefix && memcmp(value, CONFIG_BUILTIN_PREFIX, prefix) == 0)
        return parse_word(p, key, value, value, builtins, ARRAY_SIZE(builtins), &which) &&
               copy_text(p, key, value, p->vm->kernel, CONFIG_MAX_PATH);
    return parse_path(p, key, value, p->vm->kernel);
}

static bool parse_initrd(struct config_parser *p, const struct config_key *key, const char *value)
{
    return parse_path(p, key, value, p->vm->initrd);
}

static bool parse_cmdline(struct config_parser *p, const struct config_key *key, const char *value)
{
    return copy_text(p, key, value, p->vm->cmdline, sizeof(p->vm->cmdline));
}

bool config_next_item(struct config_parser *p, const struct config_key *key, const char **value, char *item,
                      size_t size, const char **where)
{
    const char *start = *value, *end;
    size_t n;

    while (is_space(*start))
        start++;
    for (end = start; *end && *end != ',';)
        end++;
    *value = *end ? end + 1 : end;
    while (end > start && is_space(end[-1]))
        end--;
    n = (size_t)(end - start);
    *where = start;
    if (n == 0) {
        config_error(p, start, "%s has an empty item; write %s", key->name, key->takes);
        return false;
    }
    if (n >= size) {
        config_error(p, start, "%s has an item of %u bytes; at most %u are possible", key->name, (unsigned)n,
                     (unsigned)(size - 1));
        return false;
    }
    memcpy(item, start, n);
    item[n] = 0;
    return true;
}

static bool parse_modules(struct config_parser *p, const struct config_key *key, const char *value)
{
    char item[CONFIG_MAX_PATH + CONFIG_MAX_ARGS];
    const char *where;

    while (*value) {
        struct config_module *module = &p->vm->modules[p->vm->module_count];
        size_t split = 0, args;

        if (!config_next_item(p, key, &value, item, sizeof(item), &where))
            return false;
        if (p->vm->module_count == CONFIG_MAX_MODULES) {
            config_error(p, where, "%s has more than %u files; leave some out", key->name,
                         CONFIG_MAX_MODULES);
            return false;
        }
        while (item[split] && !is_space(item[split]))
            split++;
        args = split;
        while (is_space(item[args]))
            args++;
        item[split] = 0;
        if (strlen(item) >= sizeof(module->path) || strlen(item + args) >= sizeof(module->args)) {
            config_error(p, where, "%s has a file name or arguments of more than %u bytes", key->name,
                         CONFIG_MAX_PATH - 1);
            return false;
        }
        if (!check_path(p, key, item, where))
            return false;
        memcpy(module->path, item, split + 1);
        memcpy(module->args, item + args, strlen(item + args) + 1);
        p->vm->module_count++;
    }
    return true;
}

static bool parse_modes(struct config_parser *p, const struct config_key *key, const char *value)
{
    static const struct word_value words[] = {{"message", CONFIG_MODE_MESSAGE},
                                              {"share-ro", CONFIG_MODE_SHARE_RO},
                                              {"share-rw", CONFIG_MODE_SHARE_RW},
                                              {"lend", CONFIG_MODE_LEND},
                                              {"donate", CONFIG_MODE_DONATE}};
    u32 modes = CONFIG_MODE_MESSAGE, mode;
    char item[32];
    const char *where;

    while (*value) {
        if (!config_next_item(p, key, &value, item, sizeof(item), &where) ||
            !parse_word(p, key, item, where, words, ARRAY_SIZE(words), &mode))
            return false;
        modes |= mode;
    }
    p->channel->modes = modes;
    return true;
}

#define NO_KEY(id, name, takes, parser, min, max)
#define A_KEY(id, name, takes, parser, min, max) {name, takes, parser, min, max},

static const struct config_key machine_keys[] = {
#define MACHINE_KEY A_KEY
#define VM_KEY      NO_KEY
#define CHANNEL_KEY NO_KEY
#include "vmm/config_keys.def"
};
static const struct config_key vm_keys[] = {
#define MACHINE_KEY NO_KEY
#define VM_KEY      A_KEY
#define CHANNEL_KEY NO_KEY
#include "vmm/config_keys.def"
};
static const struct config_key channel_keys[] = {
#define MACHINE_KEY NO_KEY
#define VM_KEY      NO_KEY
#define CHANNEL_KEY A_KEY
#include "vmm/config_keys.def"
};

const struct config_key *config_keys_of(const struct config_parser *p, u32 *count, u32 **at)
{
    if (p->section == SECTION_VM) {
        *count = ARRAY_SIZE(vm_keys);
        *at = p->vm->at;
        return vm_keys;
    }
    if (p->section == SECTION_CHANNEL) {
        *count = ARRAY_SIZE(channel_keys);
        *at = p->channel->at;
        return channel_keys;
    }
    *count = ARRAY_SIZE(machine_keys);
    *at = p->config->at;
    return machine_keys;
}

static void describe(struct config_report *report, const char *section, const struct config_key *keys,
                     u32 count)
{
    char text[160];

    report->line(report->ctx, section);
    for (u32 i = 0; i < count; i++) {
        format_string(text, sizeof(text), "  %-9s %s", keys[i].name, keys[i].takes);
        report->line(report->ctx, text);
    }
}

void config_describe_keys(struct config_report *report)
{
    describe(report, "[machine]", machine_keys, ARRAY_SIZE(machine_keys));
    describe(report, "[vm NAME]", vm_keys, ARRAY_SIZE(vm_keys));
    describe(report, "[channel NAME NAME]", channel_keys, ARRAY_SIZE(channel_keys));
}
