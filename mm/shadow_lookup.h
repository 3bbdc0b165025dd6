/* shadow_lookup.h - what a vCPU's shadow translates now, for its own CPU. */
#pragma once
#include "mm/shadow.h"

/*
 * Where the shadow has the byte at gva mapped, for an access that the CPU has just done by it (an instruction
 * fetch): rights are not looked at. False: not mapped now.
 */
bool must_check shadow_lookup(const struct shadow *sh, gva_t gva, hpa_t *out);
