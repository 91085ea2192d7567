/* tasks.c - an array, a set of those that wait, and the last few run times. */
#include "coordinator/sched/tasks.h"

#include "common/base/check.h"
#include "common/mem/mem.h"

enum err tasks_start(struct tasks *tasks, uint32_t count)
{
    struct bitset waiting;
    TRY(bitset_init(&waiting, count));
    struct task *items = mem_alloc(count, sizeof *items);
    if (items == NULL) {
        bitset_fini(&waiting);
        return ERR_OUT_OF_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++)
        bitset_add(&waiting, i);
    tasks_fini(tasks);
    tasks->items = items;
    tasks->waiting = waiting;
    tasks->count = count;
    return ERR_OK;
}

void tasks_fini(struct tasks *tasks)
{
    mem_free(tasks->items);
    bitset_fini(&tasks->waiting);
    tasks->items = NULL;
    tasks->count = tasks->done = tasks->leases = 0;
}

void tasks_finish(struct tasks *tasks, uint32_t index, const struct task_result *result,
                  struct text worker)
{
    struct task *task = &tasks->items[index];
    ASSERT(task->result == NULL);
    task->result = result;
    task->worker = worker;
    tasks->done++;
    bitset_remove(&tasks->waiting, index);
}

void tasks_undo(struct tasks *tasks, uint32_t index)
{
    struct task *task = &tasks->items[index];
    ASSERT(task->result != NULL);
    task->result = NULL;
    task->worker = (struct text){0};
    tasks->done--;
    if (task->leases == NULL)
        bitset_add(&tasks->waiting, index);
}

void tasks_add_time(struct tasks *tasks, uint64_t ms)
{
    tasks->times_ms[tasks->time_count++ % TASKS_TIMES] = (uint32_t)MIN(ms, UINT32_MAX);
}

uint64_t tasks_median_ms(const struct tasks *tasks)
{
    uint32_t sorted[TASKS_TIMES];
    uint32_t count = MIN(tasks->time_count, (uint32_t)TASKS_TIMES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = i;
        for (; place > 0 && sorted[place - 1] > tasks->times_ms[i]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = tasks->times_ms[i];
    }
    return count > 0 ? sorted[count / 2] : 0;
}
