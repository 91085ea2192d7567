/* server_work.c - see server_work.h. */
#include "coordinator/loop/server_work.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/numeric/float_rules.h"
#include "common/recipe/recipe_variant.h"
#include "coordinator/aggregate/aggregate.h"
#include "coordinator/loop/server_prune.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/loop/server_verify.h"

enum { WORK_ARENA_BYTES = 256 << 20, THREADS_MAX = 64, WEIGHTS_KEPT = 2 };

/* The training state of a ROUNDS stage between OPEN and CLOSE. */
struct server_stage {
    struct list_node node; /* of server.stages */
    uint64_t job;
    uint32_t stage;
    struct aggregate *aggregate; /* owned */
    /* Weights of the last rounds, newest first, pinned: a slow worker may still fetch the older. */
    struct digest weights[WEIGHTS_KEPT];
};

struct server_work {
    uv_work_t request;
    struct list_node node; /* of the turn, until it starts */
    struct server *server; /* borrowed */
    struct arena arena;    /* owned: everything `work` points to */
    struct sched_work work;
    struct server_stage *stage; /* borrowed from server.stages; NULL for LOG and bare sums */
    struct sched_work_done done;
    struct err_text et;
};

/* An atomic counter hands out the items; the caller's thread takes its share. */
struct lent {
    aggregate_run_f run;
    void *context;
    size_t count;
    atomic_size_t next;
};

static void *lent_run(void *argument)
{
    struct lent *lent = argument;
    float_rules_set();
    for (size_t i = atomic_fetch_add(&lent->next, 1); i < lent->count;
         i = atomic_fetch_add(&lent->next, 1))
        lent->run(lent->context, i);
    return NULL;
}

static void run_parallel(size_t count, aggregate_run_f run, void *context)
{
    struct lent lent = {.run = run, .context = context, .count = count};
    pthread_t threads[THREADS_MAX];
    size_t started = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = MIN(MIN(count, (size_t)MAX(cores, 1)), (size_t)THREADS_MAX);
    while (started + 1 < wanted && pthread_create(&threads[started], NULL, lent_run, &lent) == 0)
        started++;
    (void)lent_run(&lent);
    for (size_t i = 0; i < started; i++)
        ASSERT(pthread_join(threads[i], NULL) == 0);
}

static struct server_stage *find_stage(struct server *server, uint64_t job, uint32_t stage)
{
    for (struct list_node *n = list_first(&server->stages); n != NULL;
         n = list_next(&server->stages, n)) {
        struct server_stage *s = CONTAINER_OF(n, struct server_stage, node);
        if (s->job == job && s->stage == stage)
            return s;
    }
    return NULL;
}

static void close_stage(struct server *server, struct server_stage *stage)
{
    for (size_t i = 0; i < WEIGHTS_KEPT; i++) {
        artifact_unpin(server->artifacts, stage->weights[i]);
        artifact_drop(server->artifacts, stage->weights[i]);
    }
    aggregate_destroy(&stage->aggregate);
    list_remove(&stage->node);
    mem_free(stage);
    if (list_is_empty(&server->stages))
        artifact_drop_unpinned(server->artifacts);
}

void server_work_close_stages(struct server *server)
{
    while (!list_is_empty(&server->stages))
        close_stage(server, CONTAINER_OF(list_first(&server->stages), struct server_stage, node));
}

static enum err copy_parts(struct server_work *w)
{
    struct sched_part *parts = arena_alloc(&w->arena, w->work.part_count, sizeof *parts);
    if (parts == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < w->work.part_count; i++) {
        parts[i] = w->work.parts[i];
        const char *name = arena_copy_text(&w->arena, parts[i].worker);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        parts[i].worker = text_of(name);
    }
    w->work.parts = parts;
    return ERR_OK;
}

static enum err copy_refs(struct server_work *w)
{
    struct artifact_ref *refs = arena_alloc(&w->arena, w->work.ref_count, sizeof *refs);
    if (refs == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < w->work.ref_count; i++) {
        TRY(message_copy(&message_type_artifact_ref, &w->work.refs[i], &w->arena, &refs[i]));
        refs[i].path.data = arena_copy_text(&w->arena, refs[i].path); /* terminated: it is opened */
        if (refs[i].path.data == NULL)
            return ERR_OUT_OF_MEMORY;
    }
    w->work.refs = refs;
    return ERR_OK;
}

static enum err copy_work(struct server_work *w, const struct sched_work *work)
{
    w->work = *work;
    const char *recipe = arena_copy_text(
        &w->arena, (struct text){(const char *)work->recipe.data, work->recipe.size});
    struct log_point *points = arena_alloc(&w->arena, work->point_count, sizeof *points);
    if (recipe == NULL || points == NULL)
        return ERR_OUT_OF_MEMORY;
    w->work.recipe = (struct span){(const uint8_t *)recipe, work->recipe.size};
    if (work->point_count > 0)
        memcpy(points, work->points, work->point_count * sizeof *points);
    w->work.points = points;
    TRY(message_copy(&message_type_artifact_ref, &work->state, &w->arena, &w->work.state));
    TRY(copy_refs(w));
    return copy_parts(w);
}

static void free_work(struct server_work *w)
{
    arena_fini(&w->arena);
    mem_free(w);
}

enum err server_work_prepare(struct server *server, const struct sched_work *work,
                             struct list *works)
{
    struct server_work *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return ERR_OUT_OF_MEMORY;
    w->server = server;
    w->request.data = w;
    arena_init(&w->arena, WORK_ARENA_BYTES);
    list_node_init(&w->node);
    enum err err = copy_work(w, work);
    if (err != ERR_OK) {
        free_work(w);
        return err;
    }
    list_append(works, &w->node);
    return ERR_OK;
}

void server_work_discard(struct list *works)
{
    while (!list_is_empty(works)) {
        struct server_work *w = CONTAINER_OF(list_first(works), struct server_work, node);
        list_remove(&w->node);
        free_work(w);
    }
}

/* From here to the next mark: on a thread of the pool. */

static enum err read_settings(const struct sched_work *work, struct aggregate_settings *settings,
                              struct err_text *et)
{
    static const enum schedule_kind kinds[RECIPE_LR_SCHEDULER_COUNT] = {
        [RECIPE_LR_SCHEDULER_CONSTANT] = SCHEDULE_CONSTANT,
        [RECIPE_LR_SCHEDULER_LINEAR] = SCHEDULE_LINEAR,
        [RECIPE_LR_SCHEDULER_COSINE] = SCHEDULE_COSINE};
    struct recipe recipe;
    TRY(recipe_variant_parse(work->recipe, work->variant, &recipe, et));
    *settings = (struct aggregate_settings){
        .adamw = {recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon, recipe.weight_decay},
        .schedule = {.kind = kinds[recipe.lr_scheduler],
                     .peak = recipe.learning_rate,
                     .warmup_steps = recipe_warmup_steps(&recipe, work->step_count),
                     .total_steps = work->step_count,
                     .minimum_ratio = recipe.cosine_min_lr_ratio},
        .max_grad_norm = recipe.max_grad_norm,
        .parallel = run_parallel};
    recipe_fini(&recipe);
    return ERR_OK;
}

/* Publishes the weights of the state; those of two rounds ago may go. */
static enum err publish_weights(struct server_work *w)
{
    struct artifact_store *artifacts = w->server->artifacts;
    struct server_stage *stage = w->stage;
    struct bytes file;
    struct digest digest;
    uint64_t size_bytes = 0;
    bytes_init(&file, SIZE_MAX);
    enum err err = aggregate_write_weights(stage->aggregate, &file);
    if (err == ERR_OK) {
        size_bytes = file.size;
        err = artifact_keep_bytes(artifacts, &file, &digest, &w->et);
    }
    if (err == ERR_OK) {
        artifact_pin(artifacts, digest);
        artifact_unpin(artifacts, stage->weights[WEIGHTS_KEPT - 1]);
        artifact_drop(artifacts, stage->weights[WEIGHTS_KEPT - 1]);
        memmove(stage->weights + 1, stage->weights, (WEIGHTS_KEPT - 1) * sizeof digest);
        stage->weights[0] = digest;
        w->done.weights = (struct artifact_ref){
            .name = TEXT("weights"), .digest = digest, .size_bytes = size_bytes, .ephemeral = true};
    }
    bytes_fini(&file);
    return err;
}

static double in_mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* Whether the disk has room for the checkpoints that a training will keep. */
static enum err check_room(struct server_work *w)
{
    const struct sched_room *room = &w->work.room;
    uint64_t floor = w->server->options->free_bytes_min + room->others_bytes;
    uint64_t free_bytes;
    if (room->count == 0 || room->size_bytes == 0)
        return ERR_OK;
    TRY(artifact_free_bytes(w->server->artifacts, &free_bytes));
    free_bytes -= MIN(free_bytes, floor);
    if (free_bytes / room->size_bytes >= room->count)
        return ERR_OK;
    return error_set(&w->et, ERR_DISK_FULL,
                     "no room for its checkpoints: %" PRIu64 " of %.1f MiB each need %.1f MiB, and "
                     "%.1f MiB are free for them; free space, or submit it again with a lower "
                     "save_total_limit or higher save_steps",
                     room->count, in_mib(room->size_bytes),
                     in_mib(room->size_bytes) * (double)room->count, in_mib(free_bytes));
}

static enum err run_open(struct server_work *w)
{
    struct aggregate_settings settings;
    struct artifact state;
    TRY(check_room(w));
    TRY(read_settings(&w->work, &settings, &w->et));
    /* A state that lay on disk is read again before weeks of work go on from it. */
    TRY(server_verify_state(w->server->artifacts, w->work.state.digest, &w->et));
    TRY(artifact_acquire(w->server->artifacts, w->work.state.digest, &state, &w->et));
    enum err err = aggregate_create(&settings, state.bytes, &w->stage->aggregate, &w->et);
    artifact_release(w->server->artifacts, &state);
    TRY(err);
    w->done.step = aggregate_steps(w->stage->aggregate);
    return publish_weights(w);
}

/* Sums of an evaluation need no gradients and no state. */
static enum err run_sums(struct server_work *w, struct aggregate_part *parts,
                         struct aggregate_sums *sums)
{
    return aggregate_evaluate(parts, w->work.part_count, w->work.round_rows, sums, &w->et);
}

static enum err run_step(struct server_work *w, struct aggregate_part *parts,
                         struct aggregate_sums *sums)
{
    struct artifact_store *artifacts = w->server->artifacts;
    uint32_t count = w->work.part_count;
    struct artifact *held = arena_alloc(&w->arena, count, sizeof *held);
    if (held == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && err == ERR_OK; i++) {
        err = artifact_acquire(artifacts, parts[i].digest, &held[i], &w->et);
        parts[i].gradient = held[i].bytes;
    }
    if (err == ERR_NOT_FOUND) /* pushed out or never arrived: the round can be computed again */
        err = ERR_LOST;
    if (err == ERR_OK)
        err = aggregate_step(w->stage->aggregate, parts, count, w->work.round_rows, sums, &w->et);
    for (uint32_t i = 0; i < count; i++)
        artifact_release(artifacts, &held[i]);
    TRY(err);
    TRY(publish_weights(w));
    for (uint32_t i = 0; i < count && !w->work.keeps_parts; i++)
        artifact_drop(artifacts, parts[i].digest);
    return ERR_OK;
}

static enum err run_fold(struct server_work *w)
{
    struct aggregate_sums sums;
    struct aggregate_part *parts = arena_alloc(&w->arena, w->work.part_count, sizeof *parts);
    if (parts == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < w->work.part_count; i++) {
        const struct sched_part *p = &w->work.parts[i];
        parts[i] = (struct aggregate_part){.first = p->first,
                                           .end = p->end,
                                           .loss_sum = p->loss_sum,
                                           .weight = p->weight,
                                           .preference = p->preference,
                                           .digest = p->gradient,
                                           .worker = p->worker};
    }
    TRY(w->work.evaluates ? run_sums(w, parts, &sums) : run_step(w, parts, &sums));
    if (!w->work.evaluates)
        w->done.step = aggregate_steps(w->stage->aggregate);
    w->done.loss_sum = sums.loss_sum;
    w->done.weight = sums.weight;
    w->done.preference = sums.preference;
    w->done.grad_norm = sums.grad_norm;
    w->done.learning_rate = sums.learning_rate;
    return ERR_OK;
}

static enum err run_checkpoint(struct server_work *w)
{
    struct artifact_store *artifacts = w->server->artifacts;
    struct checkpoint_row *row = &w->done.checkpoint;
    struct bytes file;
    bytes_init(&file, SIZE_MAX);
    enum err err;
    TRY_OUT(aggregate_write_state(w->stage->aggregate, &file));
    TRY_OUT(artifact_store_bytes(artifacts, bytes_span(&file), &row->digest, &w->et));
    row->size_bytes = file.size;
    bytes_clear(&file);
    TRY_OUT(aggregate_write_ledger(w->stage->aggregate, &file));
    TRY_OUT(aggregate_write_marks(w->stage->aggregate, &file));
    TRY_OUT(artifact_store_bytes(artifacts, bytes_span(&file), &row->ledger, &w->et));
    aggregate_clear_ledger(w->stage->aggregate);
out:
    bytes_fini(&file);
    return err;
}

static enum err run_log(struct server_work *w)
{
    struct bytes file;
    bytes_init(&file, SIZE_MAX);
    struct digest digest = {0};
    enum err err;
    TRY_OUT(aggregate_write_log(w->work.points, w->work.point_count, &file));
    TRY_OUT(artifact_store_bytes(w->server->artifacts, bytes_span(&file), &digest, &w->et));
    w->done.log =
        (struct artifact_ref){.name = TEXT("log"), .digest = digest, .size_bytes = file.size};
out:
    bytes_fini(&file);
    return err;
}

static void on_work(uv_work_t *request)
{
    struct server_work *w = request->data;
    float_rules_set();
    switch (w->work.kind) {
    case SCHED_WORK_OPEN:
        w->done.error = run_open(w);
        break;
    case SCHED_WORK_FOLD:
        w->done.error = run_fold(w);
        break;
    case SCHED_WORK_CHECKPOINT:
        w->done.error = run_checkpoint(w);
        break;
    case SCHED_WORK_LOG:
        w->done.error = run_log(w);
        break;
    case SCHED_WORK_VERIFY:
        w->done.error =
            server_verify_run(w->server->artifacts, &w->work, &w->arena, &w->done, &w->et);
        break;
    case SCHED_WORK_PRUNE:
    case SCHED_WORK_CLOSE:
        break;
    }
}

/* The loop's thread again. */

/* Whether a record or the scheduler's state names a file that the work has written. */
static bool names_files(enum sched_work_kind kind)
{
    return kind == SCHED_WORK_CHECKPOINT || kind == SCHED_WORK_LOG || kind == SCHED_WORK_VERIFY;
}

static void on_done(uv_work_t *request, int status)
{
    static const enum sched_event_kind kinds[] = {[SCHED_WORK_OPEN] = SCHED_OPENED,
                                                  [SCHED_WORK_FOLD] = SCHED_FOLDED,
                                                  [SCHED_WORK_CHECKPOINT] = SCHED_CHECKPOINTED,
                                                  [SCHED_WORK_LOG] = SCHED_LOGGED,
                                                  [SCHED_WORK_VERIFY] = SCHED_VERIFIED};
    struct server_work *w = request->data;
    struct server *server = w->server;
    server->works_out--;
    server->namers_out -= names_files(w->work.kind);
    if (status == UV_ECANCELED)
        w->done.error = ERR_CANCELLED;
    if (w->done.error != ERR_OK && w->et.text[0] == '\0')
        (void)error_set(&w->et, w->done.error, "%s", error_text(w->done.error));
    w->done.detail = text_of(w->et.text);
    if (!server->is_stopping)
        server_turn_step(server,
                         &(struct sched_event){.kind = kinds[w->work.kind], .done = w->done});
    free_work(w);
}

/* An OPEN makes the stage's state afresh; whatever there was is closed first. */
static enum err place(struct server *server, struct server_work *w)
{
    struct server_stage *stage = find_stage(server, w->work.job, w->work.stage);
    if (w->work.kind == SCHED_WORK_OPEN || w->work.kind == SCHED_WORK_CLOSE) {
        if (stage != NULL)
            close_stage(server, stage);
        stage = NULL;
    }
    if (w->work.kind == SCHED_WORK_OPEN) {
        stage = mem_alloc(1, sizeof *stage);
        if (stage == NULL)
            return ERR_OUT_OF_MEMORY;
        stage->job = w->work.job;
        stage->stage = w->work.stage;
        list_node_init(&stage->node);
        list_append(&server->stages, &stage->node);
    }
    w->stage = stage;
    return ERR_OK;
}

void server_work_start(struct server *server, struct list *works)
{
    if (server->is_stopping) {
        server_work_discard(works);
        return;
    }
    while (!list_is_empty(works)) {
        struct server_work *w = CONTAINER_OF(list_first(works), struct server_work, node);
        list_remove(&w->node);
        if (w->work.kind == SCHED_WORK_PRUNE) {
            server_prune_want(server);
            free_work(w);
            continue;
        }
        w->done.job = w->work.job;
        w->done.stage = w->work.stage;
        w->done.step = w->work.step;
        enum err err = place(server, w);
        bool needs_state = w->work.kind == SCHED_WORK_CHECKPOINT ||
                           (w->work.kind == SCHED_WORK_FOLD && !w->work.evaluates);
        ASSERT(!needs_state || w->stage != NULL);
        if (err != ERR_OK || w->work.kind == SCHED_WORK_CLOSE) {
            free_work(w);
            if (err != ERR_OK)
                server_fail(server, err, "a work cannot start");
            continue;
        }
        server->works_out++;
        server->namers_out += names_files(w->work.kind);
        ASSERT(uv_queue_work(&server->loop, &w->request, on_work, on_done) == 0);
    }
}
