/* task_session.c - opened once a job and a rank, asked by every round. */
#include "worker/task/task_session.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/mem.h"
#include "worker/task/task_anchor.h"
#include "worker/task/task_memory.h"
#include "worker/task/task_qat.h"
#include "worker/task/task_settings.h"
#include "worker/task/task_state.h"

void task_session_close(struct task_session **session, struct cache *cache)
{
    struct task_session *s = *session;
    if (s == NULL)
        return;
    cache_release(cache, &s->rows_item);
    task_pairs_fini(&s->pairs);
    train_destroy(&s->train);
    fake_quant_destroy(&s->quant);
    train_layout_destroy(&s->layout);
    if (s->values != NULL)
        kernel_free(s->kernel, s->values);
    if (s->anchor != NULL)
        kernel_free(s->kernel, s->anchor);
    mem_free(s);
    *session = NULL;
}

static enum err create_quant(struct task_run *run, const struct model *model,
                             struct task_session *s, struct err_text *et)
{
    struct task_qat qat;
    TRY(task_qat_read(&run->recipe, model, &qat, et));
    if (!qat.is_on)
        return ERR_OK;
    s->quant_config = qat.config;
    return fake_quant_create(model, s->kernel, s->layout, &qat.config, &s->quant, et);
}

static uint64_t codes_bytes(const struct task_session *s)
{
    return s->quant != NULL ? fake_quant_size_bytes(s->quant) : 0;
}

/* The process and the models that it holds open. */
static uint64_t resident_bytes(const struct task_env *env)
{
    const struct model *models[] = {env->model.model, env->model.stored, env->result.model};
    uint64_t total = TASK_MEMORY_PROCESS_BYTES;
    for (size_t i = 0; i < COUNT_OF(models); i++)
        total += models[i] != NULL ? model_own_bytes(models[i]) : 0;
    return total;
}

/* Settles how many rows run at once: micro_batch_size of them, fewer where the worker has not the
 * memory, down to one. */
static void settle_rows(const struct task_run *run, const struct model *model,
                        struct task_session *s)
{
    uint64_t memory = run->env->options.memory_bytes;
    uint64_t rest = resident_bytes(run->env);
    s->rows_at_once = (size_t)run->recipe.micro_batch_size;
    for (;; s->rows_at_once /= 2) {
        s->size_bytes =
            task_memory_session(&run->recipe, model, s->layout, codes_bytes(s), s->rows_at_once);
        if (s->rows_at_once <= 1 || memory == 0 || task_memory_add(rest, s->size_bytes) <= memory)
            return;
    }
}

static enum err create(struct task_run *run, bool trains, struct task_session *s,
                       struct err_text *et)
{
    const struct model *model;
    TRY(task_model_open(run, &model, et));
    TRY(task_run_kernel(run, &s->kernel, et));
    if (trains) {
        struct train_config config;
        task_settings_train(&run->recipe, &config);
        TRY(train_layout_create(model, &config, &s->layout, et));
        s->values = kernel_alloc(s->kernel, train_layout_count(s->layout));
        if (s->values == NULL)
            return ERR_OUT_OF_MEMORY;
        TRY(create_quant(run, model, s, et));
    }
    settle_rows(run, model, s);
    struct train_options options = task_settings_rows(&run->recipe, s->quant, s->rows_at_once);
    s->prefers = options.objective == TRAIN_OBJECTIVE_PREFERENCE;
    return train_create(model, s->kernel, s->layout, &options, &s->train);
}

void task_session_close_all(struct task_env *env)
{
    for (size_t i = 0; i < TASK_SESSIONS; i++)
        task_session_close(&env->sessions[i], env->options.cache);
}

/* A free place for a session that may grow to so many bytes; the others go when all together would
 * need more than the worker may. */
static size_t make_room(struct task_env *env, uint64_t size_bytes)
{
    uint64_t total = task_memory_add(resident_bytes(env), size_bytes);
    for (size_t i = 0; i + 1 < TASK_SESSIONS; i++)
        total = task_memory_add(total, env->sessions[i] != NULL ? env->sessions[i]->size_bytes : 0);
    if (env->options.memory_bytes > 0 && total > env->options.memory_bytes)
        task_session_close_all(env);
    task_session_close(&env->sessions[TASK_SESSIONS - 1], env->options.cache);
    return TASK_SESSIONS - 1;
}

/* The last one used comes first. */
static void use(struct task_env *env, size_t place)
{
    struct task_session *used = env->sessions[place];
    memmove(&env->sessions[1], &env->sessions[0], place * sizeof used);
    env->sessions[0] = used;
}

enum err task_session_open(struct task_run *run, bool trains, struct task_session **out,
                           struct err_text *et)
{
    struct task_env *env = run->env;
    const char *folder;
    TRY(task_model_folder(run, &folder, et)); /* settles which model the key speaks of */
    struct digest key = digest_link(env->model.key, span_of_text(run->spec->profile));
    key = digest_link(key, (struct span){(const uint8_t *)(trains ? "T" : "U"), 1});
    if (trains)
        key = digest_link(
            key, (struct span){(const uint8_t *)&run->recipe.lora_r, sizeof run->recipe.lora_r});
    size_t place = 0;
    while (place < TASK_SESSIONS &&
           (env->sessions[place] == NULL || !digest_equal(env->sessions[place]->key, key)))
        place++;
    if (place == TASK_SESSIONS) {
        struct task_session *made = mem_alloc(1, sizeof *made);
        if (made == NULL)
            return ERR_OUT_OF_MEMORY;
        enum err err = create(run, trains, made, et);
        if (err != ERR_OK) {
            task_session_close(&made, env->options.cache);
            return err;
        }
        made->key = key;
        place = make_room(env, made->size_bytes);
        env->sessions[place] = made;
    }
    use(env, place);
    *out = env->sessions[0];
    return ERR_OK;
}

/* Adapters that start from the weights they adapt add what they have become beyond that. */
static enum err load_anchor(struct task_run *run, struct task_session *s, struct err_text *et)
{
    const struct artifact_ref *input = task_run_input(run, "anchor");
    bool found = false;
    if (input == NULL || digest_equal(input->digest, s->anchor_digest))
        return ERR_OK;
    if (s->anchor == NULL)
        s->anchor = kernel_alloc(s->kernel, train_layout_count(s->layout));
    if (s->anchor == NULL)
        return ERR_OUT_OF_MEMORY;
    memset(&s->anchor_digest, 0, sizeof s->anchor_digest);
    TRY(task_anchor_read(run, s->layout, s->kernel, s->anchor, &found, et));
    s->anchor_digest = input->digest;
    train_anchor(s->train, s->anchor);
    return ERR_OK;
}

enum err task_session_load(struct task_run *run, struct task_session *session, struct err_text *et)
{
    const struct artifact_ref *input = task_run_input(run, "weights");
    TRY(load_anchor(run, session, et));
    if (input != NULL && digest_equal(input->digest, session->values_digest))
        return ERR_OK;
    const struct cache_item *item = NULL;
    TRY(task_run_open(run, "weights", &item, et));
    memset(&session->values_digest, 0, sizeof session->values_digest);
    enum err err = task_state_read(item->bytes, "weights", session->layout, session->kernel,
                                   session->values, et);
    if (err == ERR_OK)
        session->values_digest = item->digest;
    cache_release(run->env->options.cache, &item);
    return err;
}

enum err task_session_quantize(struct task_session *session, uint64_t round, struct err_text *et)
{
    if (session->quant == NULL)
        return ERR_OK;
    float part = fake_quant_part(&session->quant_config, round);
    bool same_part = !(part < session->quant_part || part > session->quant_part);
    if (same_part && digest_equal(session->quant_digest, session->values_digest))
        return ERR_OK;
    session->quant_digest = (struct digest){{0}};
    TRY(fake_quant_update(session->quant, session->values, round, et));
    session->quant_digest = session->values_digest;
    session->quant_part = part;
    return ERR_OK;
}

uint64_t task_session_peak_bytes(const struct task_session *session)
{
    return train_peak_bytes(session->train) + codes_bytes(session);
}

enum err task_session_rows(struct task_run *run, struct task_session *session, const char *name,
                           struct err_text *et)
{
    struct cache *cache = run->env->options.cache;
    const struct artifact_ref *input = task_run_input(run, name);
    if (input != NULL && session->rows_item != NULL &&
        digest_equal(session->rows_item->digest, input->digest))
        return ERR_OK;
    const struct cache_item *item = NULL;
    const struct model *model;
    struct rows rows;
    TRY(task_model_open(run, &model, et));
    TRY(task_run_open(run, name, &item, et));
    enum err err = rows_open(item->bytes, &rows, et);
    if (err == ERR_OK && rows.token_id_max >= model_shape(model)->vocabulary)
        err = error_set(et, ERR_DATA,
                        "token %u is outside the model's vocabulary of %zu: do tokenizer and model "
                        "belong together?",
                        rows.token_id_max, model_shape(model)->vocabulary);
    if (err != ERR_OK) {
        cache_release(cache, &item);
        return err;
    }
    cache_release(cache, &session->rows_item);
    session->rows_item = item;
    session->rows = rows;
    return ERR_OK;
}

enum err task_session_pairs(struct task_run *run, struct task_session *session, const char *name,
                            struct err_text *et)
{
    if (!session->prefers)
        return ERR_OK;
    TRY(task_pairs_load(run, &session->pairs, et));
    uint64_t count = session->pairs.count, rows = session->rows.row_count;
    if (count < rows)
        return error_set(et, ERR_FORMAT, "%llu pairs for %llu rows", (unsigned long long)count,
                         (unsigned long long)rows);
    session->pairs_first = strcmp(name, "test_rows") == 0 ? count - rows : 0;
    return ERR_OK;
}

struct train_row task_session_row(const struct task_session *session, uint64_t index,
                                  uint64_t place)
{
    struct row row = rows_at(&session->rows, index);
    return (struct train_row){
        .index = place,
        .tokens = row.tokens,
        .loss = row.loss,
        .token_count = row.count,
        .segment_starts = row.segment_starts,
        .segment_count = row.segment_count,
    };
}

struct train_row task_session_pair(const struct task_session *session, uint64_t index,
                                   uint64_t place)
{
    struct train_row row = task_session_row(session, index, place);
    if (session->prefers)
        memcpy(row.reference, session->pairs.log_p[session->pairs_first + index],
               sizeof row.reference);
    return row;
}
