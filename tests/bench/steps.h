/* steps.h - counts instructions exactly: a child runs up to its first `int3`, and is single-stepped up to the next. */
#pragma once
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEPS_BREAKPOINT 0xcc
#define STEPS_RIP_WORD   16
#define STEPS_MARK()     __asm__ volatile("int3")

/* What child(arg) does between its first two STEPS_MARK(). */
static inline unsigned long long steps_of(void (*child)(const void *arg), const void *arg)
{
    unsigned long long steps = 0;
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        child(arg);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    for (; pid > 0 && WIFSTOPPED(status); steps++) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        long rip = ptrace(PTRACE_PEEKUSER, pid, (void *)(sizeof(long) * STEPS_RIP_WORD), NULL);
        if ((ptrace(PTRACE_PEEKTEXT, pid, (void *)rip, NULL) & 0xff) == STEPS_BREAKPOINT)
            break;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return steps;
}
