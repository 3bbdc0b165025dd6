/*
 * config.c - patchbay.ini line by line.
 *
 * inih splits the lines into keys and values; it is fed one line at a time by next_line(), which counts,
 * looks at the bytes first, and reads the section headers itself (inih cuts their names at 49 bytes and tells
 * nobody about a section without keys).
 */
#include "arch/string.h"
#include "vmm/config_parser.h"

#include <ini.h>

#define MAX_SECTION_WORDS 3

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

u32 config_find_vm(const struct config *config, const char *name)
{
    for (u32 i = 0; i < config->vm_count; i++) {
        if (strcmp(config->vms[i].name, name) == 0)
            return i;
    }
    return CONFIG_NO_VM;
}

static void open_vm(struct config_parser *p, const struct config_word *name)
{
    struct config *config = p->config;
    struct vm_config *vm = &config->vms[config->vm_count];
    u32 other = config_find_vm(config, name->text);

    if (!config_check_name(p, name))
        return;
    if (other != CONFIG_NO_VM) {
        config_error(p, name->where, "VM '%s' is declared already in line %u; give one of them another name",
                     name->text, config->vms[other].line);
        return;
    }
    if (config->vm_count == CONFIG_MAX_VMS) {
        config_error(p, name->where, "VM '%s' is one too many; at most %u are possible", name->text,
                     CONFIG_MAX_VMS);
        return;
    }
    config->vm_count++;
    memcpy(vm->name, name->text, strlen(name->text) + 1);
    vm->line = p->line;
    vm->memory = CONFIG_DEFAULT_MEMORY;
    vm->vcpus = 1;
    p->vm = vm;
    p->section = SECTION_VM;
}

static bool same_pair(const struct channel_config *c, const char *a, const char *b)
{
    return (strcmp(c->name_a, a) == 0 && strcmp(c->name_b, b) == 0) ||
           (strcmp(c->name_a, b) == 0 && strcmp(c->name_b, a) == 0);
}

static void open_channel(struct config_parser *p, const struct config_word *a, const struct config_word *b)
{
    struct config *config = p->config;
    struct channel_config *channel = &config->channels[config->channel_count];

    if (!config_check_name(p, a) || !config_check_name(p, b))
        return;
    if (strcmp(a->text, b->text) == 0) {
        config_error(p, b->where, "the channel joins '%s' with itself; name two VMs", a->text);
        return;
    }
    for (u32 i = 0; i < config->channel_count; i++) {
        if (same_pair(&config->channels[i], a->text, b->text)) {
            config_error(p, a->where,
                         "the channel of '%s' and '%s' is declared already in line %u; join the two", a->text,
                         b->text, config->channels[i].line);
            return;
        }
    }
    if (config->channel_count == CONFIG_MAX_CHANNELS) {
        config_error(p, a->where, "this channel is one too many; at most %u are possible",
                     CONFIG_MAX_CHANNELS);
        return;
    }
    config->channel_count++;
    memcpy(channel->name_a, a->text, strlen(a->text) + 1);
    memcpy(channel->name_b, b->text, strlen(b->text) + 1);
    channel->line = p->line;
    channel->modes = CONFIG_MODE_MESSAGE;
    channel->depth = CONFIG_DEFAULT_DEPTH;
    p->channel = channel;
    p->section = SECTION_CHANNEL;
}

static void open_section(struct config_parser *p, const struct config_word *words, u32 count)
{
    static const struct {
        const char *name;
        u32 words;
        const char *form;
    } kinds[] = {{"machine", 1, "[machine]"}, {"vm", 2, "[vm NAME]"}, {"channel", 3, "[channel NAME NAME]"}};
    const char *nearest;

    p->section = SECTION_SKIPPED;
    for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(words[0].text, kinds[i].name) != 0)
            continue;
        if (count != kinds[i].words)
            config_error(p, words[0].where, "a '%s' section is written %s", kinds[i].name, kinds[i].form);
        else if (i == 0)
            p->section = SECTION_MACHINE;
        else if (i == 1)
            open_vm(p, &words[1]);
        else
            open_channel(p, &words[1], &words[2]);
        return;
    }
    nearest = config_nearest(words[0].text, kinds, sizeof(*kinds), ARRAY_SIZE(kinds));
    config_error(p, words[0].where, "unknown section '%s'; %s'%s'%s", config_clip(words[0].text).text,
                 nearest ? "did you mean " : "there are 'machine', 'vm NAME' and ",
                 nearest ? nearest : "channel NAME NAME", nearest ? "?" : "");
}

/* `line` points at '['. */
static void read_section(struct config_parser *p, const char *line)
{
    struct config_word words[MAX_SECTION_WORDS + 1];
    const char *s = line + 1, *end = s;
    u32 count = 0;

    p->section = SECTION_SKIPPED;
    while (*end && *end != ']')
        end++;
    if (*end != ']') {
        config_error(p, line, "the section header has no ']'; write it as in [vm alpha]");
        return;
    }
    while (count <= MAX_SECTION_WORDS) {
        struct config_word *word = &words[count];
        size_t n = 0;

        while (s < end && is_space(*s))
            s++;
        if (s == end)
            break;
        for (word->where = s; s < end && !is_space(*s); s++) {
            if (n < sizeof(word->text) - 1)
                word->text[n++] = *s;
        }
        word->text[n] = 0;
        count++;
    }
    for (end++; is_space(*end);)
        end++;
    if (*end && *end != ';' && *end != '#')
        config_error(p, end, "there is text after the section header; put it on a line of its own");
    if (count == 0)
        config_error(p, line, "the section header is empty; write it as in [vm alpha]");
    else
        open_section(p, words, count);
}

/* The line before reached no key handler though it should have. */
static void check_line_was_used(struct config_parser *p)
{
    if (p->expects_key)
        config_error(p, NULL,
                     "this is neither 'key = value' nor a [section]; comments begin with ';' or '#'");
    p->expects_key = false;
}

/* inih's source of lines, in the manner of fgets(). */
static char *next_line(char *to, int size, void *context)
{
    struct config_parser *p = context;
    const char *start = p->text + p->pos, *content = to;
    size_t n = 0, left = p->size - p->pos;

    check_line_was_used(p);
    if (left == 0)
        return NULL;
    while (n < left && start[n] != '\n')
        n++;
    p->pos += MIN(n + 1, left);
    p->line++;
    p->buffer = to;
    p->buffer_size = (size_t)size;
    if (n && start[n - 1] == '\r')
        n--;
    if (!config_check_bytes(p, start, n)) {
        if (p->section == SECTION_VM)
            p->report->bad_vms |= 1u << (p->vm - p->config->vms);
        n = 0;
    }
    memcpy(to, start, n);
    to[n] = 0;
    if (p->line == 1 && n >= 3 && memcmp(to, "\xEF\xBB\xBF", 3) == 0)
        content += 3; /* a byte order mark */
    while (is_space(*content))
        content++;
    if (*content == '[')
        read_section(p, content);
    else
        p->expects_key = *content && *content != ';' && *content != '#';
    return to;
}

static void take_key(struct config_parser *p, const char *name, const char *value)
{
    u32 count, *at;
    const struct config_key *keys = config_keys_of(p, &count, &at);
    const char *nearest;

    for (u32 i = 0; i < count; i++) {
        if (strcmp(keys[i].name, name) != 0)
            continue;
        if (at[i])
            config_error(p, name, "'%s' is given already in line %u; remove one of them", name, at[i]);
        else if (!*value && strcmp(name, "cmdline") != 0)
            config_error(p, name, "'%s' has no value; write %s", name, keys[i].takes);
        else
            keys[i].parse(p, &keys[i], value);
        if (!at[i])
            at[i] = p->line;
        return;
    }
    nearest = config_nearest(name, keys, sizeof(*keys), count);
    config_error(p, name, "unknown key '%s' in [%s%s]; %s%s%s", config_clip(name).text,
                 p->section == SECTION_VM        ? "vm "
                 : p->section == SECTION_CHANNEL ? "channel"
                                                 : "machine",
                 p->section == SECTION_VM ? p->vm->name : "", nearest ? "did you mean '" : "",
                 nearest ? nearest : "'patchbay-check --keys' lists all keys", nearest ? "'?" : "");
}

/* inih's handler: one key of the current line. */
static int on_key(void *context, const char *section, const char *name, const char *value)
{
    struct config_parser *p = context;

    (void)section; /* cut at 49 bytes: read_section() knows better */
    p->expects_key = false;
    if (p->section == SECTION_NONE)
        config_error(p, name, "'%s' stands before any section; put it under [machine] or [vm NAME]",
                     config_clip(name).text);
    else if (p->section != SECTION_SKIPPED)
        take_key(p, name, value);
    return 1;
}

static u32 resolve_name(struct config *config, struct config_report *report, const char *name, u32 line)
{
    const char *names[CONFIG_MAX_VMS], *nearest;
    u32 index = config_find_vm(config, name);

    if (index != CONFIG_NO_VM)
        return index;
    for (u32 i = 0; i < config->vm_count; i++)
        names[i] = config->vms[i].name;
    nearest = config_nearest(name, names, sizeof(*names), config->vm_count);
    config_say(report, line, 0, "there is no VM '%s'; %s%s%s", name,
               nearest ? "did you mean '" : "declare it with [vm ", nearest ? nearest : name,
               nearest ? "'?" : "]");
    return CONFIG_NO_VM;
}

static void check_vm(struct vm_config *vm, u32 bit, struct config_report *report)
{
    u32 before = report->errors;

    if (!vm->at[CONFIG_VM_KERNEL])
        config_say(report, vm->line, 0, "VM '%s' has no kernel; add a line 'kernel = FILE'", vm->name);
    if (vm->module_count &&
        (vm->format == FORMAT_LINUX || vm->format == FORMAT_ELF || vm->format == FORMAT_FLAT))
        config_say(report, vm->at[CONFIG_VM_MODULES], 0,
                   "modules are for multiboot kernels only; remove the line or the 'format' in line %u",
                   vm->at[CONFIG_VM_FORMAT]);
    if (vm->initrd[0] && (vm->format == FORMAT_ELF || vm->format == FORMAT_FLAT))
        config_say(
            report, vm->at[CONFIG_VM_INITRD], 0,
            "initrd is for linux and multiboot kernels only; remove the line or the 'format' in line %u",
            vm->at[CONFIG_VM_FORMAT]);
    if (vm->initrd[0] && vm->module_count == CONFIG_MAX_MODULES)
        config_say(report, vm->at[CONFIG_VM_MODULES], 0, "modules and initrd together are more than %u files",
                   CONFIG_MAX_MODULES);
    if (report->errors != before)
        report->bad_vms |= bit;
}

/* What only the whole file shows. */
static void check_whole(struct config *config, struct config_report *report)
{
    u32 vcpus = 0;

    if (config->vm_count == 0)
        config_say(report, 1, 0,
                   "there is no VM to run; add a section [vm NAME] with a line 'kernel = FILE'");
    for (u32 i = 0; i < config->vm_count; i++) {
        struct vm_config *vm = &config->vms[i];

        check_vm(vm, 1u << i, report);
        if (vcpus <= CONFIG_MAX_VCPUS && vcpus + vm->vcpus > CONFIG_MAX_VCPUS)
            config_say(report, vm->line, 0,
                       "the VMs have more than %u vCPUs from here on; lower some 'vcpus'", CONFIG_MAX_VCPUS);
        vcpus += vm->vcpus;
    }
    for (u32 i = 0; i < config->channel_count; i++) {
        struct channel_config *c = &config->channels[i];

        c->a = (u8)resolve_name(config, report, c->name_a, c->line);
        c->b = (u8)resolve_name(config, report, c->name_b, c->line);
    }
    if (config->keyboard[0] &&
        resolve_name(config, report, config->keyboard, config->at[CONFIG_MACHINE_KEYBOARD]) == CONFIG_NO_VM)
        config->keyboard[0] = 0;
}

enum err config_parse(const char *text, size_t size, struct config *config, struct config_report *report)
{
    struct config_parser parser = {.config = config, .report = report, .text = text, .size = size};
    u32 before = report->errors;

    memset(config, 0, sizeof(*config));
    config->console = CONSOLE_BOTH;
    config->log = LOG_NORMAL;
    config->escape = 1;
    if (size > CONFIG_MAX_TEXT) {
        config_say(report, 1, 0, "the file is larger than %s; is it the right one?",
                   config_size_text(CONFIG_MAX_TEXT).text);
        return ERR_INVALID;
    }
    ini_max_line = CONFIG_MAX_LINE + 3;
    ini_use_stack = true;
    ini_allow_multiline = false;
    ini_allow_no_value = false;
    ini_stop_on_first_error = false;
    (void)ini_parse_stream(next_line, &parser, on_key, &parser); /* its own errors are among ours */
    check_whole(config, report);
    return report->errors == before ? ERR_OK : ERR_INVALID;
}
