/* lease.c - giving, renewing and taking away. */
#include "coordinator/sched/lease.h"

#include "common/base/check.h"
#include "coordinator/sched/core.h"

/* How long an attempt may run before another worker is put on the task as well: twice what its
 * fellows took, or a while when none is done yet. */
static uint64_t patience_ms(const struct tasks_times *times)
{
    if (times->count == 0)
        return 5 * (uint64_t)LIMIT_STRAGGLER_MS;
    return MAX(2 * tasks_median_ms(times), (uint64_t)LIMIT_STRAGGLER_MS);
}

struct lease *lease_give(struct sched *s, struct worker *worker, struct job *job,
                         struct stage *stage, uint32_t index)
{
    struct lease *lease = worker->slots;
    while (lease->fence != 0)
        lease++;
    ASSERT(lease < worker->slots + ROSTER_SLOTS);
    struct task *task = &stage->tasks.items[index];
    *lease = (struct lease){
        .fence = (uint64_t)s->incarnation << 32 | ++s->fence_count,
        .worker = worker,
        .job = job,
        .stage = stage,
        .index = index,
        .sibling = task->leases,
        .granted = s->now,
    };
    task->leases = lease;
    stage->tasks.leases++;
    list_append(&job->leases, &lease->of_job);
    bitset_remove(&stage->tasks.waiting, index);
    worker->lease_count++;
    lease_renew(s, lease);
    lease_set_patience(s, lease, instant_after(s->now, duration_ms(LIMIT_STRAGGLER_MS)));
    core_refresh(stage);
    roster_place(&s->roster, worker, s->now);
    return lease;
}

void lease_release(struct sched *s, struct lease *lease)
{
    struct stage *stage = lease->stage;
    struct task *task = &stage->tasks.items[lease->index];
    struct lease **link = &task->leases;
    while (*link != lease)
        link = &(*link)->sibling;
    *link = lease->sibling;
    tasks_await(&stage->tasks, lease->index);
    stage->tasks.leases--;
    list_remove(&lease->of_job);
    heap_remove(&s->expiries, &lease->by_expiry);
    heap_remove(&s->patience, &lease->by_patience);
    lease->fence = 0;
    if (--lease->worker->lease_count == 0)
        lease->worker->idle_since = s->now;
    core_refresh(stage);
    roster_place(&s->roster, lease->worker, s->now);
}

struct lease *lease_find(struct worker *worker, uint64_t fence)
{
    for (size_t i = 0; i < ROSTER_SLOTS; i++) {
        if (fence != 0 && worker->slots[i].fence == fence)
            return &worker->slots[i];
    }
    return NULL;
}

void lease_renew(struct sched *s, struct lease *lease)
{
    heap_put(&s->expiries, &lease->by_expiry,
             instant_after(s->now, duration_ms(LIMIT_LEASE_TTL_MS)).ns, lease->fence);
}

void lease_cancel(struct sched *s, struct lease *lease)
{
    struct worker *worker = lease->worker;
    worker->ghosts[worker->ghost_count++ % ROSTER_GHOSTS] = (struct roster_ghost){
        .fence = lease->fence,
        .job = lease->job->submitted.job,
        .round = lease->stage->run != NULL ? lease->stage->run->rounds : 0,
        .stage = lease->stage->index,
        .index = lease->index,
    };
    if (worker->is_connected)
        effect_send(&s->effect, worker->peer, MSG_LEASE_CANCEL)->lease_cancel.fence = lease->fence;
    lease_release(s, lease);
}

void lease_set_patience(struct sched *s, struct lease *lease, struct instant when)
{
    heap_put(&s->patience, &lease->by_patience, when.ns, lease->fence);
}

struct instant lease_slow_at(const struct lease *lease)
{
    const struct tasks_times *times = tasks_times_of(&lease->stage->tasks, lease->index);
    return instant_after(lease->granted, duration_ms(patience_ms(times)));
}
