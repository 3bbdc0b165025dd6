/* config_text.c - what the bytes of a line and of a name may be. */
#include "arch/string.h"
#include "vmm/config_parser.h"

/* Length of the valid UTF-8 sequence at s (1..4), 0 if there is none. Overlong forms and surrogates are none.
 */
static size_t utf8_length(const u8 *s, size_t n)
{
    static const struct {
        u8 mask, lead, length, second_min, second_max;
    } forms[] = {
        {0x80, 0x00, 1, 0, 0},       {0xFE, 0xC0, 0, 0, 0},       {0xE0, 0xC0, 2, 0x80, 0xBF},
        {0xFF, 0xE0, 3, 0xA0, 0xBF}, {0xFF, 0xED, 3, 0x80, 0x9F}, {0xF0, 0xE0, 3, 0x80, 0xBF},
        {0xFF, 0xF0, 4, 0x90, 0xBF}, {0xFF, 0xF4, 4, 0x80, 0x8F}, {0xFC, 0xF0, 4, 0x80, 0xBF},
    };

    for (u32 i = 0; i < ARRAY_SIZE(forms); i++) {
        size_t length = forms[i].length;

        if ((s[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (length > n || (length > 1 && (s[1] < forms[i].second_min || s[1] > forms[i].second_max)))
            return 0;
        for (size_t k = 2; k < length; k++) {
            if (!UTF8_CONTINUES(s[k]))
                return 0;
        }
        return length;
    }
    return 0;
}

/* Whether the bytes of a line can be parsed and shown; says why not. */
bool config_check_bytes(struct config_parser *p, const char *line, size_t n)
{
    if (n > CONFIG_MAX_LINE) {
        config_say(p->report, p->line, CONFIG_MAX_LINE + 1,
                   "the line is %u bytes long; at most %u are possible", (unsigned)n, CONFIG_MAX_LINE);
        return false;
    }
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length((const u8 *)line + i, n - i);

        if (length == 0) {
            config_say(p->report, p->line, (u32)i + 1, "byte 0x%x is not UTF-8 text; save the file as UTF-8",
                       (unsigned)(u8)line[i]);
            return false;
        }
        if ((u8)line[i] < ' ' && line[i] != '\t') {
            config_say(p->report, p->line, (u32)i + 1, "the line has a control character (0x%x); remove it",
                       (unsigned)(u8)line[i]);
            return false;
        }
        i += length;
    }
    return true;
}

bool config_check_name(struct config_parser *p, const struct config_word *word)
{
    const char *s = word->text;
    bool good = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');

    for (; good && *s; s++)
        good = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
               *s == '-' || *s == '_';
    if (!good)
        config_error(p, word->where,
                     "'%s' cannot be the name of a VM; write a letter, then letters, digits, '-' or '_'",
                     config_clip(word->text).text);
    else if (strlen(word->text) >= CONFIG_MAX_NAME)
        config_error(p, word->where, "the name '%s' is too long; at most %u characters are possible",
                     config_clip(word->text).text, CONFIG_MAX_NAME - 1);
    return good && strlen(word->text) < CONFIG_MAX_NAME;
}
