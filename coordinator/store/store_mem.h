/* store_mem.h - a store that lives as long as the process: for tests and the simulator. */
#ifndef COORDINATOR_STORE_STORE_MEM_H
#define COORDINATOR_STORE_STORE_MEM_H

#include "coordinator/store/store.h"

MUST_CHECK enum err store_mem_create(struct store **out);

/* Makes append number `n` from now (1 is the next) fail with ERR_DISK_FULL; 0 turns it off. */
void store_mem_fail_after(struct store *store, size_t n);

/* Bytes of record `seq` with its envelope, writable: tests damage them. Valid until the next
 * append. */
uint8_t *store_mem_envelope(struct store *store, uint64_t seq, size_t *size_bytes);

#endif
