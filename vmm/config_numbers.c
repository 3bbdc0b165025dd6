/* config_numbers.c - keys whose values are numbers, sizes and CPU lists. */
#include "arch/string.h"
#include "vmm/config_parser.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Digits at *s, moved past them; false if there are none or the number is beyond 2^53. */
static bool parse_digits(const char **s, u64 *out)
{
    u64 n = 0;
    const char *c = *s;

    for (; *c >= '0' && *c <= '9'; c++) {
        n = n * 10 + (u64)(*c - '0');
        if (n > BIT(53))
            return false;
    }
    if (c == *s)
        return false;
    *s = c;
    *out = n;
    return true;
}

static bool parse_number(struct config_parser *p, const struct config_key *key, const char *value, u32 *out)
{
    const char *c = value;
    u64 n;

    if (!parse_digits(&c, &n) || *c) {
        config_error(p, value, "%s '%s' is not a number; write %s", key->name, config_clip(value).text,
                     key->takes);
        return false;
    }
    if (n < key->min || n > key->max) {
        config_error(p, value, "%s %s is out of range; write a number from %u to %u", key->name,
                     config_clip(value).text, (unsigned)key->min, (unsigned)key->max);
        return false;
    }
    *out = (u32)n;
    return true;
}

bool config_parse_vcpus(struct config_parser *p, const struct config_key *key, const char *value)
{
    return parse_number(p, key, value, &p->vm->vcpus);
}

bool config_parse_depth(struct config_parser *p, const struct config_key *key, const char *value)
{
    return parse_number(p, key, value, &p->channel->depth);
}

/* A number with an optional unit: 4096, 64K, 256M, 2G, 256MB, 256MiB; false if it is none. */
static bool parse_size(const char *value, u64 *out, bool *unit_given)
{
    static const char units[] = "kmg";
    const char *c = value;
    u32 shift = 0;
    u64 n;

    if (!parse_digits(&c, &n))
        return false;
    while (is_space(*c))
        c++;
    for (u32 i = 0; units[i]; i++) {
        if (lower(*c) == units[i])
            shift = 10 * (i + 1);
    }
    *unit_given = shift != 0;
    if (shift) {
        c++;
        if (*c == 'i' && lower(c[1]) == 'b')
            c += 2;
        else if (lower(*c) == 'b')
            c++;
    }
    if (*c || n > BIT(53) >> shift)
        return false;
    *out = n << shift;
    return true;
}

bool config_parse_memory(struct config_parser *p, const struct config_key *key, const char *value)
{
    bool unit;
    u64 bytes;

    if (!parse_size(value, &bytes, &unit)) {
        config_error(p, value, "%s '%s' is not a size; write a number with K, M or G, such as 256M",
                     key->name, config_clip(value).text);
        return false;
    }
    if (!unit && bytes < key->min && bytes >= key->min / MIB) {
        config_error(p, value, "%s %s is that many bytes; did you mean '%sM'?", key->name,
                     config_clip(value).text, config_clip(value).text);
        return false;
    }
    if (bytes < key->min || bytes > key->max) {
        config_error(p, value, "%s '%s' is out of range; write a size from %s to %s", key->name,
                     config_clip(value).text, config_size_text(key->min).text,
                     config_size_text(key->max).text);
        return false;
    }
    if (bytes & PAGE_MASK) {
        config_error(p, value, "%s '%s' is not a whole number of 4K pages; write %s", key->name,
                     config_clip(value).text, config_size_text(ALIGN_UP(bytes, PAGE_SIZE)).text);
        return false;
    }
    p->vm->memory = bytes;
    return true;
}

/* "3" or "2-5" into a mask. */
static bool parse_cpu_range(struct config_parser *p, const struct config_key *key, const char *item,
                            const char *where, u64 *mask)
{
    const char *c = item;
    u64 first = 0, last;
    bool ok = parse_digits(&c, &first);

    last = first;
    if (ok && *c == '-') {
        c++;
        ok = parse_digits(&c, &last);
    }
    if (!ok || *c) {
        config_error(p, where, "%s has '%s', which is no CPU number or range; write %s", key->name,
                     config_clip(item).text, key->takes);
        return false;
    }
    if (first > last) {
        config_error(p, where, "%s has the range '%s' backwards; write %u-%u", key->name,
                     config_clip(item).text, (unsigned)last, (unsigned)first);
        return false;
    }
    if (last > key->max) {
        config_error(p, where, "%s has CPU %llu, which is out of range; CPUs are numbered from 0 to %u",
                     key->name, (unsigned long long)last, (unsigned)key->max);
        return false;
    }
    for (u64 i = first; i <= last; i++)
        *mask |= BIT(i);
    return true;
}

bool config_parse_cpus(struct config_parser *p, const struct config_key *key, const char *value)
{
    char item[32];
    const char *where;
    u64 mask = 0;

    while (*value) {
        if (!config_next_item(p, key, &value, item, sizeof(item), &where) ||
            !parse_cpu_range(p, key, item, where, &mask))
            return false;
    }
    p->vm->cpus = mask;
    return true;
}
