/* yield.h - included before all else: a thread that spins gives its CPU to the one that it waits for, which may have none
 * here (a vCPU's CPU never sleeps while it has a lock). */
#pragma once
#include <sched.h>

#define __builtin_ia32_pause() sched_yield()
