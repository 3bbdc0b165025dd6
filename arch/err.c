/* err.c - the words for each error. */
#include "arch/err.h"

static const char *const texts[ERR_COUNT] = {
#define X(name, text) [ERR_##name] = text,
    ERR_LIST(X)
#undef X
};

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT ? texts[e] : "unknown error";
}
