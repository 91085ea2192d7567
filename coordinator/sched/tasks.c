/* tasks.c - an array, a set of those that wait, and the last few run times. */
#include "coordinator/sched/tasks.h"

#include "common/base/check.h"
#include "common/mem/mem.h"

static bool has_waves(const struct tasks *tasks)
{
    return tasks->waves.periods > 0;
}

/* Lets the tasks up to `end` wait. */
static void open_until(struct tasks *tasks, uint32_t end)
{
    for (uint32_t i = tasks->open_end; i < end; i++) {
        tasks->open_left += tasks->items[i].result == NULL;
        if (tasks->items[i].result == NULL && tasks->items[i].leases == NULL)
            bitset_add(&tasks->waiting, i);
    }
    tasks->open_end = end;
}

static enum err start(struct tasks *tasks, uint32_t count, const struct wave_layout *layout)
{
    struct bitset waiting;
    TRY(bitset_init(&waiting, count));
    struct task *items = mem_alloc(count, sizeof *items);
    if (items == NULL) {
        bitset_fini(&waiting);
        return ERR_OUT_OF_MEMORY;
    }
    tasks_fini(tasks);
    tasks->items = items;
    tasks->waiting = waiting;
    tasks->count = count;
    tasks->waves = *layout;
    open_until(tasks, has_waves(tasks) ? wave_end(layout, 0) : count);
    return ERR_OK;
}

enum err tasks_start(struct tasks *tasks, uint32_t count)
{
    return start(tasks, count, &(struct wave_layout){0, 0, 0});
}

enum err tasks_start_waves(struct tasks *tasks, const struct wave_layout *layout)
{
    return start(tasks, wave_task_count(layout), layout);
}

void tasks_fini(struct tasks *tasks)
{
    mem_free(tasks->items);
    bitset_fini(&tasks->waiting);
    tasks->items = NULL;
    tasks->count = tasks->done = tasks->leases = 0;
    tasks->waves = (struct wave_layout){0, 0, 0};
    tasks->open_end = tasks->open_left = 0;
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
    tasks->open_left -= index < tasks->open_end;
    while (tasks->open_left == 0 && tasks->open_end < tasks->count)
        open_until(tasks, wave_end(&tasks->waves, tasks->open_end));
}

/* The waves after that of `index` are closed. Those before the open one are complete, so what is
 * left is left of the open wave. */
static void close_after(struct tasks *tasks, uint32_t index)
{
    uint32_t end = wave_end(&tasks->waves, index);
    for (uint32_t i = end; i < tasks->open_end; i++) {
        tasks->open_left -= tasks->items[i].result == NULL;
        bitset_remove(&tasks->waiting, i);
    }
    tasks->open_end = MIN(tasks->open_end, end);
}

void tasks_undo(struct tasks *tasks, uint32_t index)
{
    struct task *task = &tasks->items[index];
    ASSERT(task->result != NULL);
    task->result = NULL;
    task->worker = (struct text){0};
    task->is_reused = false;
    tasks->done--;
    tasks->open_left += tasks_is_open(tasks, index);
    if (has_waves(tasks))
        close_after(tasks, index);
    tasks_await(tasks, index);
}

void tasks_await(struct tasks *tasks, uint32_t index)
{
    const struct task *task = &tasks->items[index];
    if (task->result == NULL && task->leases == NULL && tasks_is_open(tasks, index))
        bitset_add(&tasks->waiting, index);
}

bool tasks_is_open(const struct tasks *tasks, uint32_t index)
{
    return index < tasks->open_end;
}

const struct tasks_times *tasks_times_of(const struct tasks *tasks, uint32_t index)
{
    return &tasks->times[has_waves(tasks) && wave_place(&tasks->waves, index).is_group];
}

void tasks_add_time(struct tasks *tasks, uint32_t index, uint64_t ms)
{
    struct tasks_times *times =
        &tasks->times[has_waves(tasks) && wave_place(&tasks->waves, index).is_group];
    times->ms[times->count++ % TASKS_TIMES] = (uint32_t)MIN(ms, UINT32_MAX);
}

uint64_t tasks_median_ms(const struct tasks_times *times)
{
    uint32_t sorted[TASKS_TIMES];
    uint32_t count = MIN(times->count, (uint32_t)TASKS_TIMES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = i;
        for (; place > 0 && sorted[place - 1] > times->ms[i]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = times->ms[i];
    }
    return count > 0 ? sorted[count / 2] : 0;
}
