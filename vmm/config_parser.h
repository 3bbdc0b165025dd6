/*
 * config_parser.h - what the parts of the configuration parser share; nobody else includes this.
 *
 *   config.c        lines, sections, what only the whole file shows
 *   config_keys.c   one parser per key, from the table config_keys.def
 *   config_numbers.c  those of them that are numbers
 *   config_text.c   what bytes and names may be
 *   config_say.c    diagnostics and suggestions
 *   config_check.c  the configuration against a machine
 */
#pragma once
#include "vmm/config.h"

/* A byte of a UTF-8 sequence that is not its first. */
#define UTF8_CONTINUES(c) (((u8)(c)&0xC0) == 0x80)

enum config_section { SECTION_NONE, SECTION_MACHINE, SECTION_VM, SECTION_CHANNEL, SECTION_SKIPPED };

struct config_parser {
    struct config *config;
    struct config_report *report;
    const char *text;
    size_t size, pos;
    const char *buffer; /* inih's copy of the current line */
    size_t buffer_size;
    u32 line;
    bool expects_key; /* the current line must reach the key handler */
    enum config_section section;
    struct vm_config *vm;           /* in SECTION_VM */
    struct channel_config *channel; /* in SECTION_CHANNEL */
};

struct config_key {
    const char *name; /* first: config_nearest() walks arrays of these */
    const char *takes;
    bool (*parse)(struct config_parser *p, const struct config_key *key, const char *value);
    u64 min, max;
};

typedef bool config_parse_fn(struct config_parser *p, const struct config_key *key, const char *value);
config_parse_fn config_parse_memory, config_parse_vcpus, config_parse_cpus, config_parse_depth;

/* One item of a comma list, spaces around it taken off, copied to `item`; *value moves behind the comma,
 * *where is the item's place in the line. False if it is empty or too long (reported). */
bool config_next_item(struct config_parser *p, const struct config_key *key, const char **value, char *item,
                      size_t size, const char **where);

/* A word of a section header, and its place in the line. */
struct config_word {
    char text[64];
    const char *where;
};

/* Whether a name can be a VM's, and the bytes of a line can be parsed and shown; reported if not. */
bool config_check_name(struct config_parser *p, const struct config_word *word);
bool config_check_bytes(struct config_parser *p, const char *line, size_t n);

/* Keys of a section; *count of them. *at is where the current section notes their lines. */
const struct config_key *config_keys_of(const struct config_parser *p, u32 *count, u32 **at);

/* One error line. `column` 0: only the line is known; editors are then sent to its start. */
void config_say(struct config_report *report, u32 line, u32 column, const char *fmt, ...) printf_like(4, 5);

/* An error at `where`, a pointer into the current line (or anything: then column 1), in the current section.
 */
void config_error(struct config_parser *p, const char *where, const char *fmt, ...) printf_like(3, 4);

/* The word nearest to `word` among `count` strings, each at `stride` bytes from the one before, the first at
 * `words` (an array of structs whose first member is the string pointer); NULL if none is near. */
const char *config_nearest(const char *word, const void *words, size_t stride, u32 count);

/* A copy of at most 40 bytes of s for a message, cut at a character, with "..." if it was longer. */
struct config_clip {
    char text[48];
};
struct config_clip config_clip(const char *s);

/* 256M and the like: the largest unit that divides. */
struct config_clip config_size_text(u64 bytes);
