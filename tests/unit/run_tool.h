/* run_tool.h - runs a host tool that lies beside the folder of the test program, and looks at what it printed. */
#pragma once
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static char tool[512];
static char output[128 << 10];

/* main() calls it with its own name. */
static inline void tool_is(const char *program, const char *name)
{
    const char *slash = strrchr(program, '/');

    snprintf(tool, sizeof(tool), "%.*s../%s", slash ? (int)(slash + 1 - program) : 0, program, name);
}

/* Runs it and returns its exit code. What it printed, errors too, is in `output`. */
static inline int run(const char *arguments)
{
    char command[1200];
    FILE *pipe;
    size_t n;
    int status;

    snprintf(command, sizeof(command), "%s %s 2>&1", tool, arguments);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    n = fread(output, 1, sizeof(output) - 1, pipe);
    output[n] = 0;
    status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void said(const char *text)
{
    if (!strstr(output, text))
        fail_msg("'%s' is not in:\n%s", text, output);
}
