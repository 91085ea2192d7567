/* world.c - see world.h. */
#include "world.h"
#include "coordinator/sched/sched_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "coordinator/plan/plan.h"

#define UNIX_MS 1700000000000u /* when the world began */

enum { RECORDS_MAX = 300000, TRAIN_ROWS = 37, TEST_ROWS = 9 };

void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    arena_init(&w->arena, (size_t)1 << 32);
    w->records = mem_alloc(RECORDS_MAX, sizeof *w->records);
    assert_non_null(w->records);
    w->now_ms = 1000;
    w->incarnation = 1;
    static const uint64_t told[WORLD_FACTS] = {3, 2, 4, 2, 3, 2};
    memcpy(w->told, told, sizeof told);
    assert_int_equal(sched_create(w->incarnation, &w->s), ERR_OK);
    world_step(w, (struct sched_event){.kind = SCHED_STARTED});
}

void world_fini(struct world *w)
{
    sched_destroy(&w->s);
    mem_free(w->records);
    arena_fini(&w->arena);
}

int world_setup(void **state)
{
    *state = mem_alloc(1, sizeof(struct world));
    assert_non_null(*state);
    world_init(*state);
    return 0;
}

int world_teardown(void **state)
{
    world_fini(*state);
    mem_free(*state);
    return 0;
}

struct world *world_of(void **state)
{
    return *state;
}

void world_restart(struct world *w)
{
    sched_destroy(&w->s);
    w->grant_count = w->work_count = 0;
    assert_int_equal(sched_create(++w->incarnation, &w->s), ERR_OK);
    for (size_t i = 0; i < w->record_count; i++)
        assert_int_equal(sched_replay(w->s, &w->records[i]), ERR_OK);
    world_step(w, (struct sched_event){.kind = SCHED_STARTED});
}

static void copy(struct world *w, const struct message_type *type, const void *from, void *to)
{
    assert_int_equal(message_copy(type, from, &w->arena, to), ERR_OK);
}

static void keep_record(struct world *w, const struct sched_record *record)
{
    assert_true(w->record_count < RECORDS_MAX);
    struct sched_record *kept = &w->records[w->record_count++];
    kept->number = record->number;
    kept->unix_ms = record->unix_ms;
    copy(w, message_record_type_of(record->number), &record->record, &kept->record);
    w->tasks_counted += record->number == REC_TASK_DONE;
}

static void keep_grant(struct world *w, const struct sched_send *send)
{
    assert_true(w->grant_count < WORLD_QUEUE);
    struct world_grant *kept = &w->grants[w->grant_count++];
    kept->peer = send->peer;
    copy(w, &message_type_msg_lease_grant, &send->message.lease_grant, &kept->grant);
}

static void keep_work(struct world *w, const struct sched_work *work)
{
    assert_true(w->work_count < WORLD_QUEUE);
    struct sched_work *kept = &w->works[w->work_count++];
    *kept = *work;
    struct sched_part *parts = arena_alloc(&w->arena, work->part_count, sizeof *parts);
    assert_non_null(parts);
    uint64_t at = 0;
    for (uint32_t i = 0; i < work->part_count; i++) {
        assert_int_equal(work->parts[i].first, at); /* in order, without gaps */
        at = work->parts[i].end;
        parts[i] = work->parts[i];
    }
    if (work->kind == SCHED_WORK_FOLD)
        assert_int_equal(at, work->round_rows);
    kept->parts = parts;
    struct artifact_ref *refs = arena_alloc(&w->arena, work->ref_count, sizeof *refs);
    assert_non_null(refs);
    for (uint32_t i = 0; i < work->ref_count; i++)
        refs[i] = work->refs[i];
    kept->refs = refs;
    w->opens += work->kind == SCHED_WORK_OPEN;
    w->folds += work->kind == SCHED_WORK_FOLD && !work->evaluates;
    w->evaluations += work->kind == SCHED_WORK_FOLD && work->evaluates;
    w->checkpoints += work->kind == SCHED_WORK_CHECKPOINT;
    w->logs += work->kind == SCHED_WORK_LOG;
    w->verifies += work->kind == SCHED_WORK_VERIFY;
    w->closes += work->kind == SCHED_WORK_CLOSE;
    w->prunes += work->kind == SCHED_WORK_PRUNE;
}

void world_keep(struct world *w, const struct sched_effects *effects)
{
    for (size_t i = 0; i < effects->record_count; i++)
        keep_record(w, &effects->records[i]);
    for (size_t i = 0; i < effects->send_count; i++) {
        if (effects->sends[i].number == MSG_LEASE_GRANT)
            keep_grant(w, &effects->sends[i]);
    }
    for (size_t i = 0; i < effects->work_count; i++)
        keep_work(w, &effects->works[i]);
}

enum err world_try(struct world *w, struct sched_event event)
{
    event.now.ns = w->now_ms * NS_PER_MS;
    event.unix_ms = UNIX_MS + w->now_ms;
    TRY(sched_step(w->s, &event, &w->fx));
    world_keep(w, &w->fx);
    return ERR_OK;
}

void world_step(struct world *w, struct sched_event event)
{
    assert_int_equal(world_try(w, event), ERR_OK);
}

void world_tick(struct world *w, uint64_t after_ms)
{
    w->now_ms += after_ms;
    world_step(w, (struct sched_event){.kind = SCHED_TICK});
}

static struct peer_id peer_of(uint64_t peer)
{
    return (struct peer_id){peer};
}

void world_hello(struct world *w, uint64_t peer, const char *name, const char *profiles)
{
    struct msg_hello hello = {.protocol = MESSAGE_PROTOCOL,
                              .role = PEER_WORKER,
                              .name = text_of(name),
                              .session = peer,
                              .threads = 1,
                              .isa = TEXT("portable"),
                              .profiles = text_of(profiles),
                              .known_answer.v[0] = (uint8_t)w->known_answer};
    world_step(w,
               (struct sched_event){.kind = SCHED_HELLO, .peer = peer_of(peer), .hello = &hello});
}

void world_beat(struct world *w, uint64_t peer, const uint64_t *fences, uint32_t count)
{
    struct lease_status rows[LIMIT_WORKER_LEASES] = {{0}};
    for (uint32_t i = 0; i < count; i++)
        rows[i].fence = fences[i];
    struct msg_heartbeat beat = {.seq = 1, .leases = rows, .leases_count = count};
    world_step(w, (struct sched_event){
                      .kind = SCHED_HEARTBEAT, .peer = peer_of(peer), .heartbeat = &beat});
}

void world_accept(struct world *w, uint64_t peer, uint64_t fence)
{
    struct msg_lease_accept accept = {.fence = fence};
    world_step(
        w, (struct sched_event){.kind = SCHED_ACCEPT, .peer = peer_of(peer), .accept = &accept});
}

void world_fail(struct world *w, uint64_t peer, uint64_t fence, enum err error)
{
    struct msg_lease_result result = {
        .fence = fence, .error = (uint32_t)error, .detail = TEXT("it broke")};
    world_step(
        w, (struct sched_event){.kind = SCHED_RESULT, .peer = peer_of(peer), .result = &result});
}

size_t world_points(const struct world *w, struct log_point out[WORLD_POINTS])
{
    uint64_t total;
    size_t count = sched_job_points(w->s, 0, SCHED_ALL, 0, out, WORLD_POINTS, &total);
    assert_int_equal(count, total);
    return count;
}

void world_control(struct world *w, const char *prefix, enum job_action action)
{
    struct msg_job_control control = {
        .ticket = 5, .prefix = text_of(prefix), .action = (uint32_t)action, .reason = TEXT("")};
    world_step(
        w, (struct sched_event){.kind = SCHED_CONTROL, .peer = peer_of(900), .control = &control});
}

void world_history(struct world *w, const struct msg_checkpoint_control *control)
{
    struct sched_history_request request = {control, 0};
    struct sched_event event = {.kind = SCHED_HISTORY, .peer = peer_of(900)};
    event.history = &request;
    world_step(w, event);
}

static struct span canonical(struct world *w, const char *text)
{
    struct recipe recipe;
    struct err_text et = {.text = ""};
    enum err err =
        recipe_read(span_of_text(text_of(text)), &(struct recipe_options){0}, &recipe, &et);
    if (err != ERR_OK)
        print_message("%s\n", et.text);
    assert_int_equal(err, ERR_OK);
    struct bytes out;
    bytes_init(&out, LIMIT_RECIPE_BYTES);
    recipe_write(&recipe, &out);
    assert_int_equal(bytes_status(&out), ERR_OK);
    uint8_t *kept = arena_alloc(&w->arena, out.size, 1);
    assert_non_null(kept);
    memcpy(kept, out.data, out.size);
    struct span span = {kept, out.size};
    bytes_fini(&out);
    recipe_fini(&recipe);
    return span;
}

struct span world_recipe(struct world *w, const char *lines)
{
    const char *base = "base_model: m\nlearning_rate: 1e-3\nsequence_len: 64\nnum_epochs: 1\n"
                       "datasets:\n  - path: d.jsonl\n    type: completion\n";
    return canonical(w, arena_print(&w->arena, "%s%s", base, lines));
}

static struct digest digest_of_number(uint64_t a, uint64_t b)
{
    uint64_t numbers[2] = {a, b};
    return digest_of((struct span){(const uint8_t *)numbers, sizeof numbers});
}

/* The graph of a job whose recipe and inputs are there. */
static void plan(struct world *w, struct rec_job_submitted *record)
{
    struct err_text et = {.text = ""};
    uint64_t request = record->request;
    record->job = digest_of_number(request, 1).v[0] + request * 1000;
    record->name = TEXT("tiny");
    record->owner = TEXT("ann");
    record->role = TEXT("submit");
    record->priority = w->priority;
    record->created_unix_ms = UNIX_MS + w->now_ms;
    enum err err = plan_stages(record->recipe, record->inputs, record->inputs_count, &w->arena,
                               &record->stages, &record->stages_count, &et);
    if (err != ERR_OK)
        print_message("%s\n", et.text);
    assert_int_equal(err, ERR_OK);
}

void world_job(struct world *w, uint64_t request, struct span recipe, uint32_t shards,
               bool held_out, struct rec_job_submitted *record)
{
    struct artifact_ref *inputs = arena_alloc(&w->arena, 4, sizeof *inputs);
    assert_non_null(inputs);
    static const char *const names[] = {"model/config.json", "model/model.safetensors",
                                        "data/0/d.jsonl", "test/0/t.jsonl"};
    for (size_t i = 0; i < 4; i++) {
        inputs[i].name = text_of(names[i]);
        inputs[i].size_bytes = i == 2 ? (uint64_t)shards << 22 : 100;
        inputs[i].digest = digest_of_number(7, i);
    }
    *record = (struct rec_job_submitted){
        .request = request, .recipe = recipe, .inputs = inputs, .inputs_count = held_out ? 4 : 3};
    plan(w, record);
}

void world_quantize_job(struct world *w, uint64_t request, const char *keys,
                        struct rec_job_submitted *record)
{
    struct artifact_ref *inputs = arena_alloc(&w->arena, 4, sizeof *inputs);
    assert_non_null(inputs);
    static const char *const names[] = {"model/config.json", "model/model.safetensors",
                                        "calib/0/c.jsonl", "test/0/t.jsonl"};
    for (size_t i = 0; i < 4; i++) {
        inputs[i] = (struct artifact_ref){.name = text_of(names[i]), .size_bytes = 100};
        inputs[i].digest = digest_of_number(100 + w->model, i);
    }
    struct span recipe =
        canonical(w, arena_print(&w->arena,
                                 "base_model: m\nsequence_len: 64\nseed: %u\nquantize: {%s}\n"
                                 "calibration_datasets:\n  - path: c.jsonl\n    type: completion\n"
                                 "test_datasets:\n  - path: t.jsonl\n    type: completion\n",
                                 (unsigned)request, keys));
    *record = (struct rec_job_submitted){
        .request = request, .recipe = recipe, .inputs = inputs, .inputs_count = 4};
    plan(w, record);
}

static void submit(struct world *w, const struct rec_job_submitted *record)
{
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = peer_of(900)};
    event.submit.ticket = record->request;
    event.submit.record = record;
    world_step(w, event);
}

void world_submit(struct world *w, uint64_t request, struct span recipe, uint32_t shards,
                  bool held_out)
{
    struct rec_job_submitted record;
    world_job(w, request, recipe, shards, held_out, &record);
    submit(w, &record);
}

void world_quantize(struct world *w, uint64_t request, const char *keys)
{
    struct rec_job_submitted record;
    world_quantize_job(w, request, keys, &record);
    submit(w, &record);
}

void world_damage(struct world *w, struct digest digest)
{
    assert_true(w->damaged_count < WORLD_DAMAGED);
    w->damaged[w->damaged_count++] = digest;
}

static bool is_damaged(const struct world *w, struct digest digest)
{
    for (size_t i = 0; i < w->damaged_count; i++) {
        if (digest_equal(w->damaged[i], digest))
            return true;
    }
    return false;
}

static void mend(struct world *w, struct digest digest)
{
    for (size_t i = 0; i < w->damaged_count; i++) {
        if (digest_equal(w->damaged[i], digest))
            w->damaged[i--] = w->damaged[--w->damaged_count];
    }
}

static void tell(const struct world *w, enum world_fact which, const char *name,
                 struct task_result *result)
{
    if (w->told[which] != WORLD_SILENT)
        result->facts[result->facts_count++] = (struct fact){text_of(name), w->told[which]};
}

static void add_facts(const struct world *w, uint32_t kind, struct task_result *result)
{
    if (kind == STAGE_KIND_PACK) {
        result->facts[result->facts_count++] = (struct fact){TEXT("train_rows"), TRAIN_ROWS};
        result->facts[result->facts_count++] = (struct fact){TEXT("test_rows"), TEST_ROWS};
        tell(w, WORLD_CALIBRATE_TASKS, "calibrate_tasks", result);
        tell(w, WORLD_COMPARE_TASKS, "compare_tasks", result);
    }
    if (kind == STAGE_KIND_CHOOSE) {
        tell(w, WORLD_QUANTIZE_TASKS, "quantize_tasks", result);
        tell(w, WORLD_REPLAY_SHARDS, "replay_shards", result);
        tell(w, WORLD_REPLAY_GROUPS, "replay_groups", result);
        tell(w, WORLD_REPLAY_PERIODS, "replay_periods", result);
    }
}

/* Outputs by kind; the groups of a replay quantize. */
static const char *const output_names[STAGE_KIND_COUNT][4] = {
    [STAGE_KIND_PREPARE] = {"samples"},
    [STAGE_KIND_PACK] = {"rows", "test_rows", "calib_rows"},
    [STAGE_KIND_INIT] = {"state"},
    [STAGE_KIND_TRAIN] = {"gradient"},
    [STAGE_KIND_EXPORT] = {"adapter.st"},
    [STAGE_KIND_CALIBRATE] = {"statistics"},
    [STAGE_KIND_REDUCE] = {"statistics", "imatrix"},
    [STAGE_KIND_CHOOSE] = {"choices"},
    [STAGE_KIND_QUANTIZE] = {"tensors", "figures"},
    [STAGE_KIND_ASSEMBLE] = {"model.gguf", "README.md"},
    [STAGE_KIND_COMPARE] = {"scores"},
    [STAGE_KIND_REPORT] = {"quantization.json", "README.md"},
    [STAGE_KIND_REPLAY] = {"hidden", "gram.0", "gram.1", "gram.2"},
    [STAGE_KIND_MERGE] = {"model.safetensors", "config.json"},
    [STAGE_KIND_MEASURE] = {"losses"},
};

struct msg_lease_result world_result(struct world *w, const struct msg_lease_grant *grant,
                                     uint64_t salt)
{
    const struct task_spec *spec = &grant->spec;
    uint64_t place = spec->kind + spec->round * 100 + spec->first * 1000000 + salt;
    struct artifact_ref *outputs = arena_alloc(&w->arena, 4, sizeof *outputs);
    struct fact *facts = arena_alloc(&w->arena, 4, sizeof *facts);
    assert_true(outputs != NULL && facts != NULL);
    struct task_result result = {.outputs = outputs, .facts = facts};
    const char *const *names = output_names[spec->kind];
    for (uint64_t i = 0; i < 4 && names[i] != NULL; i++) {
        outputs[i] = (struct artifact_ref){
            .name = text_of(names[i]), .digest = digest_of_number(place, i), .size_bytes = 8};
        result.outputs_count++;
    }
    add_facts(w, spec->kind, &result);
    if (spec->kind == STAGE_KIND_TRAIN || spec->kind == STAGE_KIND_EVALUATE) {
        result.weight = (double)(spec->end - spec->first) * 4;
        result.loss_sum = result.weight * 3;
        result.tokens = (spec->end - spec->first) * 5;
    }
    return (struct msg_lease_result){.fence = grant->fence, .result = result};
}

static void answer(struct world *w, struct peer_id peer, const struct msg_lease_grant *grant,
                   uint64_t salt)
{
    struct msg_lease_result message = world_result(w, grant, salt);
    world_step(w, (struct sched_event){.kind = SCHED_RESULT, .peer = peer, .result = &message});
}

void world_answer(struct world *w, struct peer_id peer, const struct msg_lease_grant *grant)
{
    for (uint32_t i = 0; i < grant->spec.inputs_count; i++) {
        if (!is_damaged(w, grant->spec.inputs[i].digest))
            continue;
        world_fail(w, peer.v, grant->fence, ERR_NOT_FOUND);
        return;
    }
    struct msg_lease_result result = world_result(w, grant, 0);
    for (uint32_t i = 0; i < result.result.outputs_count; i++)
        mend(w, result.result.outputs[i].digest);
    answer(w, peer, grant, 0);
}

void world_answer_wrongly(struct world *w, struct peer_id peer, const struct msg_lease_grant *grant)
{
    answer(w, peer, grant, 77);
}

static void read_again(struct world *w, const struct sched_work *work, struct sched_work_done *done)
{
    struct sched_loss *lost = arena_alloc(&w->arena, work->ref_count, sizeof *lost);
    assert_non_null(lost);
    for (uint32_t i = 0; i < work->ref_count; i++) {
        if (is_damaged(w, work->refs[i].digest))
            lost[done->lost_count++] =
                (struct sched_loss){work->refs[i].digest, TEXT("the file on disk is damaged")};
    }
    done->lost = lost;
}

struct sched_event world_outcome(struct world *w, const struct sched_work *work)
{
    static const enum sched_event_kind kinds[] = {SCHED_OPENED, SCHED_FOLDED,   SCHED_CHECKPOINTED,
                                                  SCHED_LOGGED, SCHED_VERIFIED, SCHED_TICK,
                                                  SCHED_TICK};
    struct sched_event event = {.kind = kinds[work->kind]};
    event.done = (struct sched_work_done){
        .job = work->job, .stage = work->stage, .step = work->step, .grad_norm = 1};
    uint64_t state = work->step + 1000 * (uint64_t)work->variant;
    event.done.weights.digest = digest_of_number(state, 11);
    event.done.log.digest = digest_of_number(work->point_count, 12);
    event.done.checkpoint.digest = digest_of_number(state, 13);
    event.done.checkpoint.ledger = digest_of_number(state, 14);
    for (uint32_t i = 0; i < work->part_count; i++) {
        event.done.loss_sum += work->parts[i].loss_sum;
        event.done.weight += work->parts[i].weight;
    }
    if (work->kind == SCHED_WORK_OPEN && is_damaged(w, work->state.digest)) {
        event.done.error = ERR_DIGEST;
        event.done.detail = TEXT("the file on disk is damaged");
    }
    if (work->kind == SCHED_WORK_CHECKPOINT)
        mend(w, event.done.checkpoint.digest);
    if (work->kind == SCHED_WORK_LOG)
        mend(w, event.done.log.digest);
    if (work->kind == SCHED_WORK_VERIFY)
        read_again(w, work, &event.done);
    return event;
}

void world_work(struct world *w, const struct sched_work *work)
{
    world_step(w, world_outcome(w, work));
}

struct world_grant world_next_grant(struct world *w)
{
    assert_true(w->grant_count > 0);
    struct world_grant grant = w->grants[0];
    memmove(w->grants, w->grants + 1, --w->grant_count * sizeof *w->grants);
    return grant;
}

struct sched_work world_next_work(struct world *w)
{
    assert_true(w->work_count > 0);
    struct sched_work work = w->works[0];
    memmove(w->works, w->works + 1, --w->work_count * sizeof *w->works);
    return work;
}

bool world_advance(struct world *w)
{
    if (w->grant_count + w->work_count == 0)
        return false;
    w->now_ms += 10;
    if (w->work_count > 0) {
        struct sched_work work = world_next_work(w);
        if (work.kind != SCHED_WORK_CLOSE && work.kind != SCHED_WORK_PRUNE)
            world_work(w, &work);
    } else {
        struct world_grant grant = world_next_grant(w);
        world_answer(w, grant.peer, &grant.grant);
    }
    return true;
}

void world_run(struct world *w)
{
    while (world_advance(w))
        continue;
}

const struct sched_send *world_sent(const struct world *w, uint32_t number, size_t n)
{
    for (size_t i = 0; i < w->fx.send_count; i++) {
        if (w->fx.sends[i].number == number && n-- == 0)
            return &w->fx.sends[i];
    }
    return NULL;
}

enum job_state world_state(const struct world *w, size_t job)
{
    struct job_row row;
    sched_job_row(w->s, job, &row);
    return (enum job_state)row.state;
}

struct text world_detail(const struct world *w, size_t job)
{
    struct job_row row;
    sched_job_row(w->s, job, &row);
    return row.detail;
}
