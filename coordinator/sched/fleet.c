/* fleet.c - workers come, speak, fall silent and go. */
#include "coordinator/sched/fleet.h"

#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { REST_DOUBLINGS_MAX = 5 };

void fleet_init(struct fleet *fleet)
{
    *fleet = (struct fleet){0};
    map_init(&fleet->by_session);
    map_init(&fleet->by_peer);
    list_init(&fleet->departed);
    heap_init(&fleet->deadlines);
}

static void worker_destroy(struct worker *worker)
{
    if (worker == NULL)
        return;
    mem_free(worker->name);
    mem_free(worker->isa);
    mem_free(worker->profiles);
    mem_free(worker->versions);
    mem_free(worker);
}

static void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    heap_fini(&pool->jobs);
    mem_free(pool->name);
    mem_free(pool);
}

void fleet_fini(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++)
        worker_destroy(fleet->workers[i]);
    for (size_t i = 0; i < fleet->pool_count; i++)
        pool_destroy(fleet->pools[i]);
    for (size_t i = 0; i < fleet->quarantined_count; i++)
        mem_free(fleet->quarantined[i]);
    mem_free(fleet->workers);
    mem_free(fleet->pools);
    mem_free(fleet->quarantined);
    map_fini(&fleet->by_session);
    map_fini(&fleet->by_peer);
    heap_fini(&fleet->deadlines);
    *fleet = (struct fleet){0};
}

enum err fleet_pool(struct fleet *fleet, struct text profile, struct pool **out)
{
    for (size_t i = 0; i < fleet->pool_count; i++) {
        if (text_is(profile, fleet->pools[i]->name)) {
            *out = fleet->pools[i];
            return ERR_OK;
        }
    }
    if (fleet->pool_count == LIMIT_POOLS)
        return ERR_LIMIT;
    if (fleet->pools == NULL) {
        fleet->pools = mem_alloc(LIMIT_POOLS, sizeof *fleet->pools);
        if (fleet->pools == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    struct pool *pool = mem_alloc(1, sizeof *pool);
    if (pool == NULL)
        return ERR_OUT_OF_MEMORY;
    pool->name = mem_copy_text(profile);
    if (pool->name == NULL) {
        pool_destroy(pool);
        return ERR_OUT_OF_MEMORY;
    }
    heap_init(&pool->jobs);
    list_init(&pool->idle);
    list_init(&pool->busy);
    fleet->pools[fleet->pool_count++] = pool;
    *out = pool;
    return ERR_OK;
}

/* A seat in the pool of each profile it offers; those beyond FLEET_PROFILES or LIMIT_POOLS are not
 * offered. */
static enum err take_seats(struct fleet *fleet, struct worker *worker)
{
    struct text rest = text_of(worker->profiles);
    while (rest.size > 0 && worker->seat_count < FLEET_PROFILES) {
        size_t size = 0;
        while (size < rest.size && rest.data[size] != ',')
            size++;
        struct text profile = {rest.data, size};
        size_t step = MIN(size + 1, rest.size);
        rest = (struct text){rest.data + step, rest.size - step};
        if (profile.size == 0)
            continue;
        struct pool *pool;
        enum err err = fleet_pool(fleet, profile, &pool);
        if (err == ERR_OUT_OF_MEMORY)
            return err;
        if (err != ERR_OK)
            break;
        struct fleet_seat *seat = &worker->seats[worker->seat_count++];
        *seat = (struct fleet_seat){.worker = worker, .pool = pool};
        list_node_init(&seat->node);
    }
    return ERR_OK;
}

static enum err worker_create(struct fleet *fleet, const struct msg_hello *hello,
                              struct worker **out)
{
    struct worker *worker = mem_alloc(1, sizeof *worker);
    if (worker == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OUT_OF_MEMORY;
    worker->name = mem_copy_text(hello->name);
    worker->isa = mem_copy_text(hello->isa);
    worker->profiles = mem_copy_text(hello->profiles);
    worker->versions = mem_copy_text(hello->versions);
    if (worker->name == NULL || worker->isa == NULL || worker->profiles == NULL ||
        worker->versions == NULL)
        goto out;
    list_node_init(&worker->departed);
    worker->session = hello->session;
    worker->answer = digest_link(hello->known_answer, span_of_text(hello->versions));
    worker->memory_bytes = hello->memory_bytes;
    worker->threads = hello->threads;
    TRY_OUT(take_seats(fleet, worker));
    *out = worker;
    return ERR_OK;
out:
    worker_destroy(worker);
    return err;
}

static enum err reserve_worker(struct fleet *fleet)
{
    size_t count = fleet->count + 1;
    if (count > fleet->capacity) {
        size_t capacity = MAX(count, fleet->capacity * 2);
        struct worker **workers = mem_resize(fleet->workers, capacity, sizeof(struct worker *));
        if (workers == NULL)
            return ERR_OUT_OF_MEMORY;
        fleet->workers = workers;
        fleet->capacity = capacity;
    }
    TRY(map_reserve(&fleet->by_session, count));
    TRY(map_reserve(&fleet->by_peer, count));
    return heap_reserve(&fleet->deadlines, count);
}

/* Forgets the worker that went first, to make room. */
static bool forget_departed(struct fleet *fleet)
{
    struct list_node *node = list_first(&fleet->departed);
    if (node == NULL)
        return false;
    struct worker *worker = CONTAINER_OF(node, struct worker, departed);
    list_remove(node);
    fleet_disconnect(fleet, worker);
    map_remove(&fleet->by_session, &worker->by_session);
    fleet->workers[worker->place] = fleet->workers[--fleet->count];
    fleet->workers[worker->place]->place = worker->place;
    worker_destroy(worker);
    return true;
}

enum err fleet_join(struct fleet *fleet, const struct msg_hello *hello, struct peer_id peer,
                    struct instant now, struct worker **out)
{
    if (fleet->count >= LIMIT_WORKERS && list_is_empty(&fleet->departed))
        return ERR_BUSY;
    struct worker *worker;
    TRY(reserve_worker(fleet));
    TRY(worker_create(fleet, hello, &worker));
    if (fleet->count >= LIMIT_WORKERS)
        (void)forget_departed(fleet);
    for (size_t i = 0; i < fleet->count; i++) {
        if (text_is(hello->name, fleet->workers[i]->name)) {
            fleet->workers[i]->is_replaced = true;
            fleet_place(fleet, fleet->workers[i], now);
        }
    }
    worker->id = ++fleet->last_id;
    worker->place = fleet->count;
    worker->is_quarantined = fleet_is_quarantined(fleet, hello->name);
    worker->heard = now;
    worker->state = WORKER_READY;
    fleet->workers[fleet->count++] = worker;
    map_add(&fleet->by_session, &worker->by_session, worker->session);
    fleet_connect(fleet, worker, peer);
    fleet_place(fleet, worker, now);
    *out = worker;
    return ERR_OK;
}

struct worker *fleet_of_session(const struct fleet *fleet, uint64_t session)
{
    struct map_node *node = map_find(&fleet->by_session, session);
    return node == NULL ? NULL : CONTAINER_OF(node, struct worker, by_session);
}

struct worker *fleet_of_peer(const struct fleet *fleet, struct peer_id peer)
{
    struct map_node *node = map_find(&fleet->by_peer, peer.v);
    return node == NULL ? NULL : CONTAINER_OF(node, struct worker, by_peer);
}

void fleet_connect(struct fleet *fleet, struct worker *worker, struct peer_id peer)
{
    if (worker->is_connected && worker->peer.v == peer.v)
        return;
    struct worker *other = fleet_of_peer(fleet, peer);
    if (other != NULL)
        fleet_disconnect(fleet, other);
    fleet_disconnect(fleet, worker);
    worker->peer = peer;
    worker->is_connected = true;
    map_add(&fleet->by_peer, &worker->by_peer, peer.v);
}

void fleet_disconnect(struct fleet *fleet, struct worker *worker)
{
    if (!worker->is_connected)
        return;
    map_remove(&fleet->by_peer, &worker->by_peer);
    worker->is_connected = false;
}

static bool is_living(const struct worker *worker)
{
    return worker->state != WORKER_LOST && worker->state != WORKER_LEFT;
}

void fleet_hear(struct fleet *fleet, struct worker *worker, struct instant now)
{
    worker->heard = now;
    list_remove(&worker->departed);
    worker->state = worker->is_draining ? WORKER_DRAINING : WORKER_READY;
    fleet_place(fleet, worker, now);
}

void fleet_rest(struct fleet *fleet, struct worker *worker, struct instant now)
{
    uint64_t ms = (uint64_t)LIMIT_WORKER_REST_MS
                  << MIN(worker->faults, (uint32_t)REST_DOUBLINGS_MAX);
    worker->faults++;
    worker->rest_until = instant_after(now, duration_ms(ms));
    fleet_place(fleet, worker, now);
}

void fleet_depart(struct fleet *fleet, struct worker *worker, enum worker_state state)
{
    ASSERT(worker->lease_count == 0);
    worker->state = state;
    if (state == WORKER_LEFT)
        fleet_disconnect(fleet, worker);
    if (!list_holds(&worker->departed))
        list_append(&fleet->departed, &worker->departed);
    fleet_place(fleet, worker, worker->heard);
}

/* Equal bits are promised between workers only by profiles with a version. */
static bool is_versioned(const struct pool *pool)
{
    return strchr(pool->name, '/') != NULL;
}

static void agree(struct fleet_seat *seat)
{
    struct pool *pool = seat->pool;
    bool agrees = is_living(seat->worker) && !seat->worker->is_quarantined &&
                  (pool->agreed_count == 0 || !is_versioned(pool) || seat->is_agreed ||
                   digest_equal(pool->answer, seat->worker->answer));
    if (agrees == seat->is_agreed)
        return;
    if (agrees && pool->agreed_count == 0)
        pool->answer = seat->worker->answer;
    pool->agreed_count += agrees ? 1 : UINT32_MAX;
    seat->is_agreed = agrees;
}

bool fleet_may_take(const struct worker *worker, const struct pool *pool, struct instant now)
{
    if (worker->state != WORKER_READY || !worker->is_connected || worker->is_draining ||
        worker->rest_until.ns > now.ns || worker->lease_count == FLEET_SLOTS)
        return false;
    for (uint32_t i = 0; i < worker->seat_count; i++) {
        if (worker->seats[i].pool == pool)
            return worker->seats[i].is_agreed;
    }
    return false;
}

static void place_seat(struct fleet_seat *seat, struct instant now)
{
    struct worker *worker = seat->worker;
    struct pool *pool = seat->pool;
    agree(seat);
    bool is_member = seat->is_agreed && worker->is_connected && !worker->is_draining;
    if (is_member != seat->is_member)
        pool->member_count += is_member ? 1 : UINT32_MAX;
    seat->is_member = is_member;
    struct list *list = NULL;
    if (fleet_may_take(worker, pool, now))
        list = worker->lease_count == 0 ? &pool->idle : &pool->busy;
    if (list == seat->list)
        return;
    list_remove(&seat->node);
    if (list != NULL)
        list_append(list, &seat->node);
    seat->list = list;
}

static uint64_t lost_after_ms(const struct worker *worker)
{
    return worker->is_replaced ? 2 * (uint64_t)LIMIT_HEARTBEAT_MS : LIMIT_WORKER_LOST_MS;
}

void fleet_place(struct fleet *fleet, struct worker *worker, struct instant now)
{
    for (uint32_t i = 0; i < worker->seat_count; i++)
        place_seat(&worker->seats[i], now);
    if (!is_living(worker)) {
        heap_remove(&fleet->deadlines, &worker->by_deadline);
        return;
    }
    uint64_t ms = lost_after_ms(worker);
    if (worker->state != WORKER_QUIET)
        ms = MIN(ms, (uint64_t)LIMIT_WORKER_QUIET_MS);
    uint64_t deadline = instant_after(worker->heard, duration_ms(ms)).ns;
    if (worker->rest_until.ns > now.ns)
        deadline = MIN(deadline, worker->rest_until.ns);
    heap_put(&fleet->deadlines, &worker->by_deadline, deadline, worker->id);
}

bool fleet_is_lost(struct fleet *fleet, struct worker *worker, struct instant now)
{
    uint64_t silence_ns = now.ns - MIN(worker->heard.ns, now.ns);
    if (silence_ns >= lost_after_ms(worker) * NS_PER_MS)
        return true;
    if (silence_ns >= LIMIT_WORKER_QUIET_MS * NS_PER_MS)
        worker->state = WORKER_QUIET;
    fleet_place(fleet, worker, now);
    return false;
}

bool fleet_is_quarantined(const struct fleet *fleet, struct text name)
{
    for (size_t i = 0; i < fleet->quarantined_count; i++) {
        if (text_is(name, fleet->quarantined[i]))
            return true;
    }
    return false;
}

enum err fleet_quarantine(struct fleet *fleet, struct text name)
{
    if (fleet_is_quarantined(fleet, name))
        return ERR_OK;
    char *copy = mem_copy_text(name);
    char **names =
        mem_resize(fleet->quarantined, fleet->quarantined_count + 1, sizeof *fleet->quarantined);
    if (names != NULL)
        fleet->quarantined = names;
    if (copy == NULL || names == NULL) {
        mem_free(copy);
        return ERR_OUT_OF_MEMORY;
    }
    names[fleet->quarantined_count++] = copy;
    for (size_t i = 0; i < fleet->count; i++) {
        struct worker *worker = fleet->workers[i];
        if (text_is(name, worker->name)) {
            worker->is_quarantined = true;
            fleet_place(fleet, worker, worker->heard);
        }
    }
    return ERR_OK;
}
