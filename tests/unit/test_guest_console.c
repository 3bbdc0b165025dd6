/* links: vmm/guest_console.c arch/string.c */
/* test_guest_console.c - several writers, one console: prefixes, completed lines, nothing lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/guest_console.h"

static char shown[1 << 16];
static size_t shown_length;

static void collect(const char *text, size_t n)
{
    assert_true(shown_length + n < sizeof(shown));
    memcpy(shown + shown_length, text, n);
    shown_length += n;
    shown[shown_length] = 0;
}

static struct console_mux mux;

static int start(void **state)
{
    (void)state;
    shown_length = 0;
    shown[0] = 0;
    console_mux_init(&mux, collect);
    console_mux_add(&mux, 0, "alpha");
    console_mux_add(&mux, 1, "beta");
    return 0;
}

static void say(u32 vm, const char *text)
{
    while (*text)
        console_mux_byte(&mux, vm, (u8)*text++, 5);
}

static void own(const char *text)
{
    console_mux_own(&mux, text, strlen(text));
}

static void whole_lines_are_prefixed(void **state)
{
    (void)state;
    say(0, "one\r\ntwo\n");
    assert_string_equal(shown, "[alpha] one\n[alpha] two\n");
}

static void nothing_is_shown_before_the_line_is_complete(void **state)
{
    (void)state;
    say(0, "par");
    say(1, "whole\n");
    say(0, "tial\n");
    assert_string_equal(shown, "[beta] whole\n[alpha] partial\n");
}

static void a_prompt_is_shown_and_goes_on(void **state)
{
    (void)state;
    say(0, "# ");
    console_mux_flush_idle(&mux, 0, 5);
    assert_string_equal(shown, "[alpha] # ");
    say(0, "ls\n");
    assert_string_equal(shown, "[alpha] # ls\n");
}

static void a_line_that_is_being_written_is_not_shown(void **state)
{
    (void)state;
    say(0, "half");
    console_mux_flush_idle(&mux, 0, 4);
    assert_string_equal(shown, "");
}

static void a_prompt_is_completed_when_another_writes(void **state)
{
    (void)state;
    say(0, "# ");
    console_mux_flush_idle(&mux, 0, 5);
    say(1, "hello\n");
    say(0, "ls\n");
    assert_string_equal(shown, "[alpha] # \n[beta] hello\n[alpha] ls\n");
}

static void the_hypervisor_completes_it_too(void **state)
{
    (void)state;
    say(1, "> ");
    console_mux_flush_idle(&mux, 1, 5);
    own("[patchbay] note\n");
    say(1, "x\n");
    assert_string_equal(shown, "[beta] > \n[patchbay] note\n[beta] x\n");
}

static void the_end_completes_the_line(void **state)
{
    (void)state;
    say(0, "last words");
    console_mux_finish(&mux, 0);
    console_mux_finish(&mux, 0);
    own("[patchbay] ended\n");
    assert_string_equal(shown, "[alpha] last words\n[patchbay] ended\n");
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    (void)state;
    say(0, "a\x01\x7f\tb\n");
    assert_string_equal(shown, "[alpha] a?\x7f\tb\n");
}

static void a_long_line_is_shown_in_pieces_without_loss(void **state)
{
    (void)state;
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = 0;
    say(0, text);
    say(0, "\n");
    assert_int_equal(shown_length, strlen("[alpha] ") + 1000 + 1);
}

static void unknown_writers_are_ignored(void **state)
{
    (void)state;
    say(2, "x\n");
    say(CONSOLE_MUX_VMS, "x\n");
    assert_int_equal(shown_length, 0);
}

/* Random writers: every line belongs to one writer, and each writer's bytes come in order. */
static void random_writers_keep_their_order(void **state)
{
    (void)state;
    unsigned seed = 12345;
    char expected[2][4096];
    size_t count[2] = {0, 0};

    for (int i = 0; i < 3000; i++) {
        seed = seed * 1103515245 + 12345;
        u32 vm = seed >> 16 & 1;
        char c = (seed >> 17) % 11 == 0 ? '\n' : (char)('a' + (seed >> 18) % 26);
        console_mux_byte(&mux, vm, (u8)c, 5);
        if (c != '\n')
            expected[vm][count[vm]++] = c;
        if ((seed >> 20) % 5 == 0)
            console_mux_flush_idle(&mux, (seed >> 23) & 1, 5);
        if ((seed >> 20) % 37 == 0)
            own("[patchbay] z\n");
    }
    console_mux_finish(&mux, 0);
    console_mux_finish(&mux, 1);
    size_t got[2] = {0, 0};
    for (char *line = strtok(shown, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "[patchbay] z", 12) == 0)
            continue;
        bool alpha = strncmp(line, "[alpha] ", 8) == 0;
        assert_true(alpha || strncmp(line, "[beta] ", 7) == 0);
        u32 vm = alpha ? 0 : 1;
        for (char *c = line + (alpha ? 8 : 7); *c; c++)
            assert_int_equal(*c, expected[vm][got[vm]++]);
    }
    assert_int_equal(got[0], count[0]);
    assert_int_equal(got[1], count[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(whole_lines_are_prefixed, start),
        cmocka_unit_test_setup(nothing_is_shown_before_the_line_is_complete, start),
        cmocka_unit_test_setup(a_prompt_is_shown_and_goes_on, start),
        cmocka_unit_test_setup(a_line_that_is_being_written_is_not_shown, start),
        cmocka_unit_test_setup(a_prompt_is_completed_when_another_writes, start),
        cmocka_unit_test_setup(the_hypervisor_completes_it_too, start),
        cmocka_unit_test_setup(the_end_completes_the_line, start),
        cmocka_unit_test_setup(control_characters_do_not_reach_the_terminal, start),
        cmocka_unit_test_setup(a_long_line_is_shown_in_pieces_without_loss, start),
        cmocka_unit_test_setup(unknown_writers_are_ignored, start),
        cmocka_unit_test_setup(random_writers_keep_their_order, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
