/* attempt.c - a small ordered table; every row has an arena of its own. */
#include "worker/agent/attempt.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"

/* A grant and a result are one control frame each. */
enum { MEMORY_BYTES = 64 << 20 };

static void destroy(struct attempt *attempt)
{
    if (attempt == NULL)
        return;
    arena_fini(&attempt->memory);
    mem_free(attempt);
}

void attempt_fini(struct attempt_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        destroy(table->rows[i]);
    table->count = 0;
}

enum err attempt_add(struct attempt_table *table, const struct msg_lease_grant *grant)
{
    if (table->count == COUNT_OF(table->rows))
        return ERR_BUSY;
    struct attempt *attempt = mem_alloc(1, sizeof *attempt);
    if (attempt == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    arena_init(&attempt->memory, MEMORY_BYTES);
    attempt->fence = grant->fence;
    attempt->job = grant->job;
    attempt->state = ATTEMPT_WAITING;
    attempt->spec = arena_alloc(&attempt->memory, 1, sizeof *attempt->spec);
    if (attempt->spec == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    TRY_OUT(message_copy(&message_type_task_spec, &grant->spec, &attempt->memory, attempt->spec));
    table->rows[table->count++] = attempt;
    attempt = NULL;
out:
    destroy(attempt);
    return err;
}

struct attempt *attempt_find(const struct attempt_table *table, uint64_t fence)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i]->fence == fence)
            return table->rows[i];
    return NULL;
}

struct attempt *attempt_computing(const struct attempt_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i]->state == ATTEMPT_RUNNING || table->rows[i]->state == ATTEMPT_STOPPING)
            return table->rows[i];
    return NULL;
}

struct attempt *attempt_next(const struct attempt_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i]->state == ATTEMPT_WAITING)
            return table->rows[i];
    return NULL;
}

void attempt_forget(struct attempt_table *table, struct attempt *attempt)
{
    size_t i = 0;
    while (i < table->count && table->rows[i] != attempt)
        i++;
    ASSERT(i < table->count);
    destroy(attempt);
    table->count--;
    memmove(&table->rows[i], &table->rows[i + 1], (table->count - i) * sizeof table->rows[0]);
}

enum err attempt_finish(struct attempt *attempt, const struct agent_outcome *outcome)
{
    static const struct task_result none = {.outputs = NULL};
    ASSERT(attempt->state == ATTEMPT_RUNNING);
    struct text detail = outcome->detail;
    if (detail.size > LIMIT_TEXT_BYTES)
        detail.size = LIMIT_TEXT_BYTES;
    const struct msg_lease_result result = {
        .fence = attempt->fence,
        .error = (uint32_t)outcome->error,
        .detail = detail,
        .result = outcome->result != NULL ? *outcome->result : none,
    };
    struct msg_lease_result *copy = arena_alloc(&attempt->memory, 1, sizeof *copy);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(message_copy(&message_type_msg_lease_result, &result, &attempt->memory, copy));
    attempt->result = copy;
    attempt->state = ATTEMPT_FINISHED;
    attempt->done = attempt->total;
    return ERR_OK;
}

size_t attempt_statuses(const struct attempt_table *table, struct lease_status *rows,
                        size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < table->count && count < capacity; i++) {
        const struct attempt *a = table->rows[i];
        if (a->state != ATTEMPT_STOPPING)
            rows[count++] = (struct lease_status){
                .fence = a->fence,
                .finished = a->state == ATTEMPT_FINISHED,
                .done = a->done,
                .total = a->total,
            };
    }
    return count;
}
