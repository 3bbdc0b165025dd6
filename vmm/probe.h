/*
 * probe.h - the first guest of each CPU: a few instructions that show that VM entries and exits work there
 * (B2).
 */
#pragma once
#include "vmm/vm.h"

/* Memory that one CPU's probe needs; zeroed. */
#define PROBE_PAGES 7u

/* Runs it on this CPU, which is in VMX operation. `memory` is PROBE_PAGES pages below 4 GiB. STATE: it did
 * not behave; why has been logged. */
enum err must_check probe_run(struct vmm_cpu *me, hpa_t memory);
