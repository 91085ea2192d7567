/* store.h - the coordinator's durable memory: an append-only log of records, chained by hash.
 *
 * Owns: the order of records and that an acknowledged batch survives power loss. Refuses to know:
 * what a record means (record_codec.h encodes, sched replays).
 *
 * The contract of every implementation
 *  1. store_append makes the whole batch durable, in order, or nothing of it.
 *  2. Records are numbered from 1 without gaps; numbers never change.
 *  3. Reading checks the envelope chain; a break is ERR_STORE with the record's number.
 *  4. After a failed append the store refuses everything: its owner must stop and start again from
 *     what is on disk (a failed sync says nothing about which pages were written).
 */
#ifndef COORDINATOR_STORE_STORE_H
#define COORDINATOR_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"

/* The exit code of a process whose commit failed; its supervisor starts it again. */
enum { STORE_EXIT_CODE = 42 };

struct store;

struct store_record {
    uint32_t number; /* enum record_number */
    uint64_t unix_ms;
    struct span payload;
};

/* One record on its way out of store_read; the payload is valid until the visitor returns. A
 * visitor's error ends the reading and is passed on. */
typedef enum err (*store_visit_f)(void *context, uint64_t seq, const struct store_record *record);

struct store_methods {
    enum err (*append)(struct store *store, const struct store_record *records, size_t count,
                       struct err_text *et);
    enum err (*read)(struct store *store, uint64_t after, store_visit_f visit, void *context,
                     struct err_text *et);
    uint64_t (*last)(const struct store *store);
    unsigned (*percent_used)(const struct store *store);
    void (*destroy)(struct store *store);
};

/* First member of every implementation. */
struct store {
    const struct store_methods *methods;
    bool is_failed; /* see 4 */
};

/* Durably appends the batch as one transaction; an empty batch does nothing. ERR_DISK_FULL, ERR_IO,
 * ERR_STORE, ERR_OUT_OF_MEMORY: see 4. */
MUST_CHECK enum err store_append(struct store *store, const struct store_record *records,
                                 size_t count, struct err_text *et);

/* Visits the records numbered above `after`, oldest first, verifying the chain. */
MUST_CHECK enum err store_read(struct store *store, uint64_t after, store_visit_f visit,
                               void *context, struct err_text *et);

/* Number of the newest record, 0 when there is none. */
uint64_t store_last(const struct store *store);

/* Share of the reserved space in use; at 70 the owner should say so. */
unsigned store_percent_used(const struct store *store);

/* Closes; NULL is allowed. */
void store_destroy(struct store **store);

#endif
