/* checkpoint_find.c - see checkpoint_find.h. */
#include "cli/command/checkpoint_find.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/message/message_copy.h"

const char *checkpoint_find_name(struct digest digest, char out[CHECKPOINT_FIND_BYTES])
{
    digest_hex(digest, out);
    out[digest_is_zero(digest) ? 0 : 7] = '\0';
    return out;
}

enum err checkpoint_find_list(struct client *client, const char *prefix, struct arena *arena,
                              struct msg_checkpoints *out, struct err_text *et)
{
    struct msg_checkpoints_get get = {.prefix = text_of(prefix)};
    const union message_any *reply = NULL;
    TRY(client_request(client, &message_type_msg_checkpoints_get, &get,
                       &message_type_msg_checkpoints, &reply, et));
    return message_copy(&message_type_msg_checkpoints, &reply->checkpoints, arena, out);
}

bool checkpoint_find_is_latest(const struct msg_checkpoints *rows, uint32_t index)
{
    const struct checkpoint_row *row = &rows->checkpoints[index];
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        const struct checkpoint_row *other = &rows->checkpoints[i];
        if (other->job == row->job && other->stage == row->stage && !other->undone &&
            other->step > row->step)
            return false;
    }
    return !row->undone;
}

uint32_t checkpoint_find_best(const struct msg_checkpoints *rows, uint32_t like)
{
    uint32_t best = rows->checkpoints_count;
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        const struct checkpoint_row *row = &rows->checkpoints[i];
        if (row->job != rows->checkpoints[like].job ||
            row->stage != rows->checkpoints[like].stage || row->undone || !isfinite(row->eval_loss))
            continue;
        if (best == rows->checkpoints_count || row->eval_loss <= rows->checkpoints[best].eval_loss)
            best = i; /* newest first: the last of equals is the oldest */
    }
    return best;
}

static bool has_tag(const struct checkpoint_row *row, struct text tag)
{
    for (struct text rest = row->tags; rest.size > 0;) {
        const char *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma == NULL ? rest.size : (size_t)(comma - rest.data);
        if (text_equal((struct text){rest.data, size}, tag))
            return true;
        size += comma != NULL;
        rest = (struct text){rest.data + size, rest.size - size};
    }
    return false;
}

bool checkpoint_find_is_id(const struct checkpoint_row *row, const char *name)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(row->digest, hex);
    return strlen(name) >= 4 && strncmp(hex, name, strlen(name)) == 0;
}

/* Whether row `index` of one job's is meant by what stands after the @. */
static bool is_meant(const struct msg_checkpoints *rows, uint32_t index, const char *what)
{
    const struct checkpoint_row *row = &rows->checkpoints[index];
    char *end = NULL;
    uint64_t step = strtoull(what, &end, 10);
    if (strcmp(what, "latest") == 0)
        return checkpoint_find_is_latest(rows, index);
    if (strcmp(what, "best") == 0)
        return checkpoint_find_best(rows, index) == index;
    if (has_tag(row, text_of(what)))
        return true;
    return (*what >= '0' && *what <= '9' && *end == '\0' && row->step == step) ||
           checkpoint_find_is_id(row, what);
}

/* Among the trainings of several variants `best` is one of them, and so is any other word. */
static enum err choose(const struct msg_checkpoints *rows, const char *name, const char *what,
                       struct checkpoint_row *out, struct err_text *et)
{
    uint32_t found = rows->checkpoints_count;
    bool is_one = true;
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        if (!is_meant(rows, i, what))
            continue;
        is_one &= found == rows->checkpoints_count ||
                  digest_equal(rows->checkpoints[found].digest, rows->checkpoints[i].digest);
        bool is_better = strcmp(what, "best") == 0 && found < rows->checkpoints_count &&
                         rows->checkpoints[i].eval_loss < rows->checkpoints[found].eval_loss;
        if (found == rows->checkpoints_count || is_better)
            found = i;
    }
    if (found == rows->checkpoints_count)
        return error_set(et, ERR_NOT_FOUND,
                         "%s: the job has no such checkpoint; `qctl ckpt log` lists them", name);
    if (!is_one && strcmp(what, "best") != 0)
        return error_set(et, ERR_AMBIGUOUS,
                         "%s names more than one checkpoint; give its id (`qctl ckpt log`)", name);
    *out = rows->checkpoints[found];
    return ERR_OK;
}

/* An id prefix, or a job, whose latest it is. */
static enum err choose_plain(const struct msg_checkpoints *rows, const char *name,
                             struct checkpoint_row *out, struct err_text *et)
{
    bool is_prefix = true, is_one = true;
    for (uint32_t i = 0; i < rows->checkpoints_count; i++) {
        is_prefix &= checkpoint_find_is_id(&rows->checkpoints[i], name);
        is_one &= digest_equal(rows->checkpoints[i].digest, rows->checkpoints[0].digest);
    }
    if (rows->checkpoints_count == 0)
        return error_set(et, ERR_NOT_FOUND, "%s: no checkpoint yet", name);
    if (!is_prefix)
        return choose(rows, name, "latest", out, et);
    if (!is_one)
        return error_set(et, ERR_AMBIGUOUS,
                         "%s names more than one checkpoint; give more of the id", name);
    *out = rows->checkpoints[0];
    return ERR_OK;
}

enum err checkpoint_find_one(struct client *client, const char *name, struct arena *arena,
                             struct checkpoint_row *out, struct err_text *et)
{
    const char *at = strrchr(name, '@');
    struct msg_checkpoints rows;
    if (at == NULL || at == name) {
        TRY(checkpoint_find_list(client, name, arena, &rows, et));
        return choose_plain(&rows, name, out, et);
    }
    const char *job = arena_copy_text(arena, (struct text){name, (size_t)(at - name)});
    if (job == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(checkpoint_find_list(client, job, arena, &rows, et));
    return choose(&rows, name, at + 1, out, et);
}
