/* server_submit.c - see server_submit.h. */
#include "coordinator/loop/server_submit.h"

#include <string.h>

#include "common/base/check.h"
#include "common/ds/container.h"
#include "common/mem/mem.h"
#include "common/message/message_copy.h"
#include "common/recipe/recipe.h"
#include "coordinator/loop/server_long.h"
#include "coordinator/loop/server_turn.h"
#include "coordinator/plan/plan.h"
#include "schemas/state_file.def"

struct submission {
    struct server_long request;
    struct arena arena; /* owned: all below */
    struct msg_submit message;
    struct text owner, role;
    uint32_t checked_count; /* of the inputs */
    struct artifact_ref *missing;
    uint32_t missing_count;
    struct checkpoint_row start; /* digest zero: none */
    struct digest spec;
    int64_t priority;
    struct stage_plan *stages;
    uint32_t stage_count;
    struct err_text et;
};

static void put_le(uint8_t *out, uint64_t value)
{
    for (size_t i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

/* Hash of recipe and inputs: equal specs give equal results, wherever the files lay. */
static struct digest hash_spec(const struct msg_submit *message)
{
    struct digest spec = digest_of(message->recipe);
    for (uint32_t i = 0; i < message->inputs_count; i++) {
        const struct artifact_ref *input = &message->inputs[i];
        uint8_t size[8];
        put_le(size, input->size_bytes);
        spec = digest_link(spec, span_of_text(input->name));
        spec = digest_link(spec, (struct span){input->digest.v, sizeof input->digest.v});
        spec = digest_link(spec, (struct span){size, sizeof size});
    }
    return spec;
}

static uint64_t make_job_id(struct digest spec, uint64_t request)
{
    uint8_t bytes[8];
    uint64_t id;
    put_le(bytes, request);
    struct digest d = digest_link(spec, (struct span){bytes, sizeof bytes});
    memcpy(&id, d.v, sizeof id);
    return id == 0 ? 1 : id;
}

/* From here to the next mark: on a thread of the pool. */

/* Whether the content can be had here. A path that holds something else counts as missing: the
 * client sends its own. ERR_BUSY: somebody reads it already, or too much is read. */
static enum err look_for(struct artifact_store *artifacts, const struct artifact_ref *input,
                         bool *is_at_hand)
{
    struct artifact_reading reading;
    struct err_text et;
    artifact_touch(artifacts, input->digest);
    *is_at_hand = artifact_is_present(artifacts, input->digest, input->size_bytes, false);
    if (*is_at_hand || input->path.size == 0 || input->path.data[0] != '/')
        return ERR_OK;
    TRY(artifact_reading_begin(artifacts, input->digest, input->size_bytes, &reading));
    *is_at_hand = artifact_register_path(artifacts, input->path.data, input->digest,
                                         input->size_bytes, &et) == ERR_OK;
    artifact_reading_end(artifacts, &reading);
    return ERR_OK;
}

static enum err check_input(struct submission *s, uint32_t i)
{
    const struct artifact_ref *input = &s->message.inputs[i];
    bool is_at_hand;
    if (input->name.size == 0 || input->ephemeral || digest_is_zero(input->digest))
        return error_set(&s->et, ERR_PROTOCOL, "input %u has no name or no digest", i);
    for (uint32_t j = 0; j < i; j++)
        if (text_equal(s->message.inputs[j].name, input->name))
            return error_set(&s->et, ERR_PROTOCOL, "two inputs are named %.*s",
                             TEXT_ARGS(input->name));
    TRY(look_for(s->request.server->artifacts, input, &is_at_hand));
    if (!is_at_hand)
        s->missing[s->missing_count++] = *input;
    return ERR_OK;
}

/* What the client found that stages of a kind need; those it says nothing of need nothing. */
static void place(struct submission *s)
{
    for (uint32_t i = 0; i < s->stage_count; i++)
        for (uint32_t k = 0; k < s->message.memory_count; k++)
            if (s->message.memory[k].kind == s->stages[i].kind)
                s->stages[i].memory_bytes = s->message.memory[k].memory_bytes;
}

static enum err plan(struct submission *s)
{
    struct recipe recipe;
    struct digest digest;
    TRY(recipe_parse(s->message.recipe, &recipe, &s->et));
    s->priority = recipe.priority;
    recipe_fini(&recipe);
    TRY(plan_stages(s->message.recipe, s->message.inputs, s->message.inputs_count, &s->arena,
                    &s->stages, &s->stage_count, &s->et));
    place(s);
    return artifact_store_bytes(s->request.server->artifacts, s->message.recipe, &digest, &s->et);
}

/* Goes on where it had to wait. */
static enum err check(struct server_long *request)
{
    struct submission *s = CONTAINER_OF(request, struct submission, request);
    for (; s->checked_count < s->message.inputs_count; s->checked_count++)
        TRY(check_input(s, s->checked_count));
    s->spec = hash_spec(&s->message);
    return s->missing_count == 0 ? plan(s) : ERR_OK;
}

/* The loop's thread again. */

static void answer(struct submission *s, enum err err)
{
    struct server *server = s->request.server;
    uint64_t peer = s->request.peer;
    if (err != ERR_OK) {
        server_turn_status(server, peer, s->message.ticket, err, s->et.text);
        return;
    }
    if (s->missing_count > 0) {
        struct msg_submitted reply = {.ticket = s->message.ticket,
                                      .spec = s->spec,
                                      .missing = s->missing,
                                      .missing_count = s->missing_count};
        server_turn_send(server, peer, MSG_SUBMITTED, &reply);
        return;
    }
    struct rec_job_submitted record = {.job = make_job_id(s->spec, s->message.request),
                                       .request = s->message.request,
                                       .name = s->message.name,
                                       .owner = s->owner,
                                       .role = s->role,
                                       .priority = s->priority,
                                       .created_unix_ms = server_unix_ms(),
                                       .spec = s->spec,
                                       .recipe = s->message.recipe,
                                       .inputs = s->message.inputs,
                                       .inputs_count = s->message.inputs_count,
                                       .stages = s->stages,
                                       .stages_count = s->stage_count,
                                       .start = s->start};
    struct sched_event event = {.kind = SCHED_SUBMIT, .peer = {peer}};
    event.submit.ticket = s->message.ticket;
    event.submit.record = &record;
    server_turn_step(server, &event);
}

static void free_submission(struct submission *s)
{
    arena_fini(&s->arena);
    mem_free(s);
}

static void on_checked(struct server_long *request, enum err err)
{
    struct submission *s = CONTAINER_OF(request, struct submission, request);
    request->server->namers_out--;
    if (err != ERR_CANCELLED)
        answer(s, err);
    free_submission(s);
}

static enum err copy(struct submission *s, const struct server_peer *peer,
                     const struct msg_submit *message)
{
    TRY(message_copy(&message_type_msg_submit, message, &s->arena, &s->message));
    s->missing = arena_alloc(&s->arena, s->message.inputs_count, sizeof *s->missing);
    if (s->missing == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < s->message.inputs_count; i++) { /* paths are opened: terminate them */
        struct text *path = &s->message.inputs[i].path;
        const char *terminated = arena_copy_text(&s->arena, *path);
        if (terminated == NULL)
            return ERR_OUT_OF_MEMORY;
        path->data = terminated;
    }
    const char *owner = peer->user;
    if (strcmp(owner, "local") == 0 && peer->name[0] != '\0')
        owner = peer->name;
    const char *owned = arena_copy_text(&s->arena, text_of(owner));
    if (owned == NULL)
        return ERR_OUT_OF_MEMORY;
    s->owner = text_of(owned);
    s->role = text_of(transport_keys_role_word(peer->role));
    return ERR_OK;
}

static bool is_in_model(const struct artifact_ref *input)
{
    return input->name.size > 6 && memcmp(input->name.data, "model/", 6) == 0;
}

/* Every file of the model that `others` were is among `inputs`. */
static bool has_model_of(const struct artifact_ref *inputs, uint32_t count,
                         const struct artifact_ref *others, uint32_t other_count)
{
    for (uint32_t i = 0; i < other_count; i++) {
        bool found = !is_in_model(&others[i]);
        for (uint32_t k = 0; k < count && !found; k++)
            found = text_equal(inputs[k].name, others[i].name) &&
                    digest_equal(inputs[k].digest, others[i].digest);
        if (!found)
            return false;
    }
    return true;
}

/* What names it keeps it. */
static bool has_start(const struct msg_submit *message)
{
    for (uint32_t i = 0; i < message->inputs_count; i++) {
        if (text_is(message->inputs[i].name, STATE_FILE_START))
            return digest_equal(message->inputs[i].digest, message->start);
    }
    return digest_is_zero(message->start);
}

/* The checkpoint that the job's training goes on from, which has to be of the same model. */
static enum err find_start(struct submission *s)
{
    const struct msg_submit *message = &s->message;
    const struct sched *sched = s->request.server->sched;
    char hex[DIGEST_HEX_BYTES];
    if (!has_start(message))
        return error_set(&s->et, ERR_PROTOCOL,
                         "the checkpoint to start from is not the input " STATE_FILE_START);
    if (digest_is_zero(message->start))
        return ERR_OK;
    digest_hex(message->start, hex);
    for (size_t i = sched_job_count(sched); i-- > 0;) {
        size_t count;
        const struct checkpoint_row *rows = sched_job_checkpoints(sched, i, &count);
        const struct rec_job_submitted *from = sched_job_submitted(sched, i);
        for (size_t k = count; k-- > 0;) {
            if (!digest_equal(rows[k].digest, message->start))
                continue;
            if (!has_model_of(message->inputs, message->inputs_count, from->inputs,
                              from->inputs_count))
                return error_set(&s->et, ERR_STATE,
                                 "checkpoint %.7s is of job %.*s, whose base_model has other files "
                                 "than that of %.*s",
                                 hex, TEXT_ARGS(from->name), TEXT_ARGS(message->name));
            s->start = rows[k];
            s->start.tags = (struct text){0};
            s->start.undone = false;
            s->start.points = 0;
            return ERR_OK;
        }
    }
    return error_set(&s->et, ERR_NOT_FOUND, "there is no checkpoint %.7s to start from", hex);
}

void server_submit_start(struct server *server, struct server_peer *peer,
                         const struct msg_submit *message)
{
    struct submission *s = mem_alloc(1, sizeof *s);
    enum err err = ERR_OUT_OF_MEMORY;
    if (s != NULL) {
        s->request = (struct server_long){.server = server,
                                          .peer = peer->id,
                                          .ticket = message->ticket,
                                          .run = check,
                                          .done = on_checked};
        arena_init(&s->arena, SERVER_ARENA_BYTES);
        err = server->is_disk_low
                  ? error_set(&s->et, ERR_DISK_FULL,
                              "the coordinator's disk is nearly full; nothing new is taken in")
                  : copy(s, peer, message);
        if (err == ERR_OK)
            err = find_start(s);
    }
    if (err != ERR_OK) {
        server_turn_status(server, peer->id, message->ticket, err, s != NULL ? s->et.text : "");
        if (s != NULL)
            free_submission(s);
        return;
    }
    server->namers_out++;
    server_long_start(&s->request);
}
