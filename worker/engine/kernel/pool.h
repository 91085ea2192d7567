/* pool.h - the threads of one kernel: runs independent items, and nothing else.
 *
 * The caller takes part and never waits for a thread that has not yet joined, so a busy machine
 * costs no more than the work. Threads spin briefly for the next call, then sleep.
 */
#ifndef WORKER_ENGINE_KERNEL_POOL_H
#define WORKER_ENGINE_KERNEL_POOL_H

#include <stddef.h>

#include "common/base/error.h"

struct pool;

typedef void (*pool_task_f)(void *context, size_t index, unsigned thread);

/* `threads` in all, the caller's included; > 0. ERR_OUT_OF_MEMORY, also when a thread cannot start.
 */
MUST_CHECK enum err pool_create(unsigned threads, struct pool **out);
void pool_destroy(struct pool **pool);

unsigned pool_threads(const struct pool *pool);

/* Runs every index below `count` once; returns when all are done. Not reentrant. */
void pool_run(struct pool *pool, size_t count, pool_task_f task, void *context);

#endif
