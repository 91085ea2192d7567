/* roster.c - workers come, speak, fall silent and go. */
#include "coordinator/sched/roster.h"

#include <string.h>

#include "common/base/check.h"
#include "common/base/utf8.h"
#include "common/mem/mem.h"

enum {
    REST_DOUBLINGS_MAX = 5,
    REASON_BYTES_MAX = 240,
    LAST_WORDS_MS = 500 /* of a dead process, until they are read */
};

void roster_init(struct roster *roster)
{
    *roster = (struct roster){0};
    map_init(&roster->by_session);
    map_init(&roster->by_peer);
    list_init(&roster->departed);
    heap_init(&roster->deadlines);
}

static void worker_destroy(struct worker *worker)
{
    if (worker == NULL)
        return;
    mem_free(worker->name);
    mem_free(worker->isa);
    mem_free(worker->profiles);
    mem_free(worker->versions);
    mem_free(worker->provider);
    mem_free(worker->allocation);
    mem_free(worker->last_end);
    mem_free(worker->drain_reason);
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

void roster_fini(struct roster *roster)
{
    for (size_t i = 0; i < roster->count; i++)
        worker_destroy(roster->workers[i]);
    for (size_t i = 0; i < roster->pool_count; i++)
        pool_destroy(roster->pools[i]);
    for (size_t i = 0; i < roster->quarantined_count; i++)
        mem_free(roster->quarantined[i]);
    mem_free(roster->workers);
    mem_free(roster->pools);
    mem_free(roster->quarantined);
    map_fini(&roster->by_session);
    map_fini(&roster->by_peer);
    heap_fini(&roster->deadlines);
    *roster = (struct roster){0};
}

static struct pool *find_pool(const struct roster *roster, struct text profile)
{
    for (size_t i = 0; i < roster->pool_count; i++) {
        if (text_is(profile, roster->pools[i]->name))
            return roster->pools[i];
    }
    return NULL;
}

enum err roster_pool(struct roster *roster, struct text profile, struct pool **out)
{
    *out = find_pool(roster, profile);
    if (*out != NULL)
        return ERR_OK;
    if (roster->pool_count == LIMIT_POOLS)
        return ERR_LIMIT;
    if (roster->pools == NULL) {
        roster->pools = mem_alloc(LIMIT_POOLS, sizeof *roster->pools);
        if (roster->pools == NULL)
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
    list_init(&pool->answers);
    roster->pools[roster->pool_count++] = pool;
    *out = pool;
    return ERR_OK;
}

/* A seat in the pool of each profile it offers, up to ROSTER_PROFILES. Half of the pools are kept
 * for profiles that jobs name, whatever workers claim to offer. */
static enum err take_seats(struct roster *roster, struct worker *worker)
{
    struct text rest = text_of(worker->profiles);
    while (rest.size > 0 && worker->seat_count < ROSTER_PROFILES) {
        size_t size = 0;
        while (size < rest.size && rest.data[size] != ',')
            size++;
        struct text profile = {rest.data, size};
        size_t step = MIN(size + 1, rest.size);
        rest = (struct text){rest.data + step, rest.size - step};
        if (profile.size == 0)
            continue;
        struct pool *pool = find_pool(roster, profile);
        if (pool == NULL && roster->pool_count >= LIMIT_POOLS / 2)
            continue;
        TRY(roster_pool(roster, profile, &pool));
        struct roster_seat *seat = &worker->seats[worker->seat_count++];
        *seat = (struct roster_seat){.worker = worker, .pool = pool};
        list_node_init(&seat->node);
    }
    return ERR_OK;
}

static enum err worker_create(struct roster *roster, const struct msg_hello *hello,
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
    worker->provider = mem_copy_text(hello->provider);
    worker->allocation = mem_copy_text(hello->allocation);
    worker->last_end = mem_copy_text(hello->last_end);
    if (worker->name == NULL || worker->isa == NULL || worker->profiles == NULL ||
        worker->versions == NULL || worker->provider == NULL || worker->allocation == NULL ||
        worker->last_end == NULL)
        goto out;
    list_node_init(&worker->departed);
    worker->session = hello->session;
    worker->answer = digest_link(hello->known_answer, span_of_text(hello->versions));
    worker->memory_bytes = hello->memory_bytes;
    worker->threads = hello->threads;
    TRY_OUT(take_seats(roster, worker));
    *out = worker;
    return ERR_OK;
out:
    worker_destroy(worker);
    return err;
}

static enum err reserve_worker(struct roster *roster)
{
    size_t count = roster->count + 1;
    if (count > roster->capacity) {
        size_t capacity = MAX(count, roster->capacity * 2);
        struct worker **workers = mem_resize(roster->workers, capacity, sizeof(struct worker *));
        if (workers == NULL)
            return ERR_OUT_OF_MEMORY;
        roster->workers = workers;
        roster->capacity = capacity;
    }
    TRY(map_reserve(&roster->by_session, count));
    TRY(map_reserve(&roster->by_peer, count));
    return heap_reserve(&roster->deadlines, count);
}

/* Forgets the worker that went first, to make room. */
static bool forget_departed(struct roster *roster)
{
    struct list_node *node = list_first(&roster->departed);
    if (node == NULL)
        return false;
    struct worker *worker = CONTAINER_OF(node, struct worker, departed);
    list_remove(node);
    roster_disconnect(roster, worker);
    map_remove(&roster->by_session, &worker->by_session);
    roster->workers[worker->place] = roster->workers[--roster->count];
    roster->workers[worker->place]->place = worker->place;
    worker_destroy(worker);
    return true;
}

bool roster_is_full(const struct roster *roster)
{
    return roster->count >= LIMIT_WORKERS && list_is_empty(&roster->departed);
}

enum err roster_join(struct roster *roster, const struct msg_hello *hello, struct peer_id peer,
                     struct instant now, struct worker **out)
{
    ASSERT(!roster_is_full(roster));
    struct worker *worker;
    TRY(reserve_worker(roster));
    TRY(worker_create(roster, hello, &worker));
    if (roster->count >= LIMIT_WORKERS)
        (void)forget_departed(roster);
    for (size_t i = 0; i < roster->count; i++) {
        if (text_is(hello->name, roster->workers[i]->name)) {
            roster->workers[i]->is_replaced = true;
            roster_place(roster, roster->workers[i], now);
        }
    }
    worker->id = ++roster->last_id;
    worker->place = roster->count;
    worker->is_quarantined = roster_is_quarantined(roster, hello->name);
    worker->heard = now;
    worker->idle_since = now;
    worker->ends_at = hello->ends_in_s == 0
                          ? (struct instant){UINT64_MAX}
                          : instant_after(now, duration_ms((uint64_t)hello->ends_in_s * 1000));
    worker->state = WORKER_READY;
    roster->workers[roster->count++] = worker;
    map_add(&roster->by_session, &worker->by_session, worker->session);
    roster_connect(roster, worker, peer);
    roster_place(roster, worker, now);
    *out = worker;
    return ERR_OK;
}

struct worker *roster_of_session(const struct roster *roster, uint64_t session)
{
    struct map_node *node = map_find(&roster->by_session, session);
    return node == NULL ? NULL : CONTAINER_OF(node, struct worker, by_session);
}

struct worker *roster_of_peer(const struct roster *roster, struct peer_id peer)
{
    struct map_node *node = map_find(&roster->by_peer, peer.v);
    return node == NULL ? NULL : CONTAINER_OF(node, struct worker, by_peer);
}

void roster_connect(struct roster *roster, struct worker *worker, struct peer_id peer)
{
    if (worker->is_connected && worker->peer.v == peer.v)
        return;
    struct worker *other = roster_of_peer(roster, peer);
    if (other != NULL)
        roster_disconnect(roster, other);
    roster_disconnect(roster, worker);
    worker->peer = peer;
    worker->is_connected = true;
    map_add(&roster->by_peer, &worker->by_peer, peer.v);
}

void roster_disconnect(struct roster *roster, struct worker *worker)
{
    if (!worker->is_connected)
        return;
    map_remove(&roster->by_peer, &worker->by_peer);
    worker->is_connected = false;
}

bool roster_is_living(const struct worker *worker)
{
    return worker->state != WORKER_LOST && worker->state != WORKER_LEFT;
}

void roster_hear(struct roster *roster, struct worker *worker, struct instant now)
{
    worker->heard = now;
    if (!roster_is_living(worker))
        worker->dead_at = (struct instant){0}; /* another process ended */
    list_remove(&worker->departed);
    worker->state = worker->is_draining ? WORKER_DRAINING : WORKER_READY;
    roster_place(roster, worker, now);
}

void roster_rest(struct roster *roster, struct worker *worker, enum err fault, struct instant now)
{
    uint64_t ms = (uint64_t)LIMIT_WORKER_REST_MS
                  << MIN(worker->faults, (uint32_t)REST_DOUBLINGS_MAX);
    worker->faults++;
    worker->fault = fault;
    worker->rest_until = instant_after(now, duration_ms(ms));
    roster_place(roster, worker, now);
}

void roster_say_why(struct worker *worker, struct text reason)
{
    bool is_cut = reason.size > REASON_BYTES_MAX;
    reason.size = MIN(reason.size, (size_t)REASON_BYTES_MAX);
    while (is_cut && ((unsigned char)reason.data[reason.size] & 0xc0) == 0x80)
        reason.size--; /* between characters */
    if (reason.size == 0 || !utf8_is_line(reason))
        return;
    mem_free(worker->drain_reason);
    worker->drain_reason = mem_copy_text(reason); /* NULL: it goes without saying */
}

void roster_depart(struct roster *roster, struct worker *worker, enum worker_state state)
{
    ASSERT(worker->lease_count == 0);
    worker->state = state;
    if (state == WORKER_LEFT)
        roster_disconnect(roster, worker);
    if (!list_holds(&worker->departed))
        list_append(&roster->departed, &worker->departed);
    roster_place(roster, worker, worker->heard);
}

/* Equal bits are promised between workers only by profiles with a version. */
bool roster_is_versioned(const struct pool *pool)
{
    return strchr(pool->name, '/') != NULL;
}

static bool may_set_answer(const struct pool *pool, struct digest answer)
{
    const struct list *answers = &pool->answers;
    for (struct list_node *n = list_first(answers); n != NULL; n = list_next(answers, n)) {
        if (digest_equal(CONTAINER_OF(n, struct roster_answer, node)->answer, answer))
            return true;
    }
    return list_is_empty(answers);
}

static bool is_agreeing(const struct roster_seat *seat)
{
    const struct pool *pool = seat->pool;
    if (!roster_is_living(seat->worker) || seat->worker->is_quarantined)
        return false;
    if (!roster_is_versioned(pool) || seat->is_agreed)
        return true;
    return pool->agreed_count == 0 ? may_set_answer(pool, seat->worker->answer)
                                   : digest_equal(pool->answer, seat->worker->answer);
}

static void agree(struct roster *roster, struct roster_seat *seat)
{
    struct pool *pool = seat->pool;
    bool agrees = is_agreeing(seat);
    if (agrees == seat->is_agreed)
        return;
    if (agrees && pool->agreed_count == 0) {
        roster->has_new_answer |= !digest_equal(pool->answer, seat->worker->answer);
        pool->answer = seat->worker->answer;
    }
    pool->agreed_count += agrees ? 1 : UINT32_MAX;
    seat->is_agreed = agrees;
}

bool roster_may_take(const struct worker *worker, const struct pool *pool, struct instant now)
{
    if (worker->state != WORKER_READY || !worker->is_connected || worker->is_draining ||
        worker->dead_at.ns != 0 || worker->rest_until.ns > now.ns ||
        worker->lease_count == ROSTER_SLOTS)
        return false;
    for (uint32_t i = 0; i < worker->seat_count; i++) {
        if (worker->seats[i].pool == pool)
            return worker->seats[i].is_agreed;
    }
    return false;
}

static void place_seat(struct roster *roster, struct roster_seat *seat, struct instant now)
{
    struct worker *worker = seat->worker;
    struct pool *pool = seat->pool;
    agree(roster, seat);
    bool is_member =
        seat->is_agreed && worker->is_connected && !worker->is_draining && worker->dead_at.ns == 0;
    if (is_member != seat->is_member)
        pool->member_count += is_member ? 1 : UINT32_MAX;
    seat->is_member = is_member;
    struct list *list = NULL;
    if (roster_may_take(worker, pool, now))
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

static struct instant last_words_end(const struct worker *worker)
{
    return instant_after(worker->dead_at, duration_ms(LAST_WORDS_MS));
}

void roster_place(struct roster *roster, struct worker *worker, struct instant now)
{
    for (uint32_t i = 0; i < worker->seat_count; i++)
        place_seat(roster, &worker->seats[i], now);
    if (!roster_is_living(worker)) {
        heap_remove(&roster->deadlines, &worker->by_deadline);
        return;
    }
    uint64_t ms = lost_after_ms(worker);
    if (worker->state != WORKER_QUIET)
        ms = MIN(ms, (uint64_t)LIMIT_WORKER_QUIET_MS);
    uint64_t deadline = instant_after(worker->heard, duration_ms(ms)).ns;
    if (worker->rest_until.ns > now.ns)
        deadline = MIN(deadline, worker->rest_until.ns);
    if (worker->dead_at.ns != 0)
        deadline = MIN(deadline, last_words_end(worker).ns);
    heap_put(&roster->deadlines, &worker->by_deadline, deadline, worker->id);
}

bool roster_is_lost(struct roster *roster, struct worker *worker, struct instant now)
{
    uint64_t silence_ns = now.ns - MIN(worker->heard.ns, now.ns);
    if (worker->dead_at.ns != 0 && now.ns >= last_words_end(worker).ns)
        return true;
    if (silence_ns >= lost_after_ms(worker) * NS_PER_MS)
        return true;
    if (silence_ns >= LIMIT_WORKER_QUIET_MS * NS_PER_MS)
        worker->state = WORKER_QUIET;
    roster_place(roster, worker, now);
    return false;
}

bool roster_is_quarantined(const struct roster *roster, struct text name)
{
    for (size_t i = 0; i < roster->quarantined_count; i++) {
        if (text_is(name, roster->quarantined[i]))
            return true;
    }
    return false;
}

enum err roster_quarantine(struct roster *roster, struct text name)
{
    if (roster_is_quarantined(roster, name))
        return ERR_OK;
    char *copy = mem_copy_text(name);
    char **names =
        mem_resize(roster->quarantined, roster->quarantined_count + 1, sizeof *roster->quarantined);
    if (names != NULL)
        roster->quarantined = names;
    if (copy == NULL || names == NULL) {
        mem_free(copy);
        return ERR_OUT_OF_MEMORY;
    }
    names[roster->quarantined_count++] = copy;
    for (size_t i = 0; i < roster->count; i++) {
        struct worker *worker = roster->workers[i];
        if (text_is(name, worker->name)) {
            worker->is_quarantined = true;
            roster_place(roster, worker, worker->heard);
        }
    }
    return ERR_OK;
}
