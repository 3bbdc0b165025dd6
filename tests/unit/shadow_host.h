/* shadow_host.h - memory for a struct shadow in host tests: metadata, the PAE root frame below 4 GiB, the
 * matrix. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/matrix.h"
#include "mm/shadow.h"

struct host_shadow {
    void *metadata, *low;
};

static inline enum err host_shadow_init(struct host_shadow *h, struct shadow *sh,
                                        struct shadow_config *config)
{
    if (!h->low)
        h->low =
            mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    free(h->metadata);
    h->metadata = aligned_alloc(64, ALIGN_UP(shadow_metadata_size(config), 64));
    config->metadata = h->metadata;
    config->low_frame = ptr_to_hpa(h->low);
    return shadow_init(sh, config);
}

/* Tables that the vCPUs of a VM share; config.shared is set for the views. */
static inline enum err host_shared_init(struct host_shadow *h, struct shadow_shared *shared,
                                        struct shadow_config *config)
{
    config->shared = NULL;
    free(h->metadata);
    h->metadata = aligned_alloc(64, ALIGN_UP(shadow_metadata_size(config), 64));
    config->metadata = h->metadata;
    enum err e = shadow_shared_init(shared, config);
    config->shared = shared;
    return e;
}

/* An arena that a new guest takes over from the last one; small, so that matrices run out of channels too. */
static u8 *host_matrix_arena;
static _Atomic u64 host_matrix_used;
static u64 host_matrix_limit;

/* Called by producers, on any thread. */
static inline void *host_matrix_memory(void *context, u64 bytes)
{
    u64 at = atomic_fetch_add(&host_matrix_used, ALIGN_UP(bytes, 64));
    (void)context;
    return at + bytes <= host_matrix_limit ? host_matrix_arena + at : NULL;
}

static inline struct matrix *host_matrix(u32 vcpus, u64 limit)
{
    static struct matrix m;
    void *metadata;
    if (!host_matrix_arena)
        host_matrix_arena = aligned_alloc(64, 4 * MIB);
    memset(host_matrix_arena, 0, 4 * MIB);
    host_matrix_used = 0;
    host_matrix_limit = 4 * MIB;
    metadata = host_matrix_memory(NULL, matrix_metadata_size(vcpus));
    if (matrix_init(&m, vcpus, metadata, host_matrix_memory, NULL) != ERR_OK)
        abort();
    host_matrix_limit = host_matrix_used + limit;
    return &m;
}
