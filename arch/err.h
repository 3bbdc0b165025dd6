/* err.h - one error type for the whole hypervisor. Every function that can fail returns it. */
#pragma once
#include "arch/types.h"

/* name, the words a person reads (lower case, no full stop: they end a sentence "vm alpha: ...") */
#define ERR_LIST(X)                                 \
    X(OK, "success")                                \
    X(NO_MEMORY, "out of memory")                   \
    X(INVALID, "invalid argument")                  \
    X(RANGE, "out of range")                        \
    X(NOT_FOUND, "not found")                       \
    X(EXISTS, "already exists")                     \
    X(BUSY, "busy")                                 \
    X(FULL, "full")                                 \
    X(EMPTY, "empty")                               \
    X(DENIED, "not permitted")                      \
    X(UNSUPPORTED, "not supported by this machine") \
    X(BAD_IMAGE, "not a valid image")               \
    X(TRUNCATED, "truncated")                       \
    X(IO, "input/output error")                     \
    X(TIMEOUT, "timed out")                         \
    X(STATE, "not possible in this state")          \
    X(FAULT, "address not accessible")

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
        ERR_COUNT
};

/* Returns the words for e; never NULL. */
const char *err_text(enum err e);
