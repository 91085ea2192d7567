/* cmd_ckpt_diff.c - `qctl ckpt diff`: what is different between two checkpoints: the recipe, the
 * data, the rules they were computed by, and how far the weights of each module moved. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/command/checkpoint_find.h"
#include "cli/command/cmd.h"
#include "cli/command/fork_keys.h"
#include "cli/command/module_change.h"
#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/message_copy.h"
#include "common/recipe/recipe.h"
#include "common/recipe/recipe_variant.h"
#include "common/view/json_view.h"

enum { ARENA_BYTES_MAX = 256 << 20, TOP_DEFAULT = 20, CODE_MAX = 4, JOB_BYTES = 17 };

/* One of the two. */
struct side {
    struct checkpoint_row row;
    struct msg_job job;  /* in the arena */
    struct bytes recipe; /* owned: canonical, of its variant */
    char profile[32];
    struct client_reader *state; /* owned */
};

static enum err read_side(struct client *client, const char *name, struct arena *arena,
                          struct side *side, struct err_text *et)
{
    char id[JOB_BYTES];
    const union message_any *reply = NULL;
    struct recipe recipe;
    TRY(checkpoint_find_one(client, name, arena, &side->row, et));
    (void)snprintf(id, sizeof id, "%016" PRIx64, side->row.job);
    struct msg_job_get get = {.prefix = text_of(id), .points_after = UINT64_MAX};
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    TRY(message_copy(&message_type_msg_job, &reply->job, arena, &side->job));
    struct span text = {side->job.recipe.data, side->job.recipe.size};
    uint32_t variant =
        side->row.stage < side->job.stages_count ? side->job.stages[side->row.stage].variant : 0;
    TRY(recipe_variant_parse(text, variant, &recipe, et));
    recipe_write(&recipe, &side->recipe);
    (void)snprintf(side->profile, sizeof side->profile, "%s", recipe_profile_name(&recipe));
    recipe_fini(&recipe);
    TRY(bytes_status(&side->recipe));
    return client_reader_open(client, side->row.digest, &side->state, et);
}

struct diff {
    struct side before, after;
    struct checkpoint_diff rows; /* lists in the arena */
    struct arena arena;          /* owned */
};

/* The value of a key: its lines without its name, on one line. */
static struct text value_of(struct span recipe, struct text key, struct arena *arena)
{
    struct text rest = {(const char *)recipe.data, recipe.size};
    while (rest.size > 0) {
        const char *newline = memchr(rest.data, '\n', rest.size);
        size_t size = newline == NULL ? rest.size : (size_t)(newline - rest.data);
        bool is_key = size > key.size && rest.data[key.size] == ':' &&
                      memcmp(rest.data, key.data, key.size) == 0;
        struct text line = {rest.data, size};
        size += newline != NULL;
        rest = (struct text){rest.data + size, rest.size - size};
        if (!is_key)
            continue;
        struct text value = {line.data + key.size + 1, line.size - key.size - 1};
        if (value.size == 0) { /* a block: its lines, one after the other */
            while (value.size < rest.size &&
                   !(rest.data[value.size] == '\n' && value.size + 1 < rest.size &&
                     rest.data[value.size + 1] != ' ' && rest.data[value.size + 1] != '-'))
                value.size++;
            value.data = rest.data;
        }
        char *copy = arena_print(arena, "%.*s", (int)MIN(value.size, (size_t)LIMIT_TEXT_BYTES / 2),
                                 value.data);
        for (char *c = copy; c != NULL && *c != '\0'; c++) {
            if (*c == '\n')
                *c = ' ';
        }
        while (copy != NULL && *copy == ' ')
            copy++;
        return copy == NULL ? TEXT("?") : text_of(copy);
    }
    return TEXT("");
}

static enum err add_key(void *context, struct text key)
{
    struct diff *d = context;
    if (d->rows.recipe_count == LIMIT_LIST_ROWS)
        return ERR_OK;
    d->rows.recipe[d->rows.recipe_count++] =
        (struct value_change){.name = key,
                              .before = value_of(bytes_span(&d->before.recipe), key, &d->arena),
                              .after = value_of(bytes_span(&d->after.recipe), key, &d->arena)};
    return ERR_OK;
}

static struct text hash_text(struct digest digest, struct arena *arena)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(digest, hex);
    const char *text = digest_is_zero(digest) ? "" : arena_print(arena, "%.12s", hex);
    return text_of(text == NULL ? "?" : text);
}

static const struct artifact_ref *input_of(const struct msg_job *job, struct text name)
{
    for (uint32_t i = 0; i < job->inputs_count; i++) {
        if (text_equal(job->inputs[i].name, name))
            return &job->inputs[i];
    }
    return NULL;
}

/* Files of `job` that the other has not, or has with other content. */
static void add_files(struct diff *d, const struct msg_job *job, const struct msg_job *other,
                      bool is_before)
{
    for (uint32_t i = 0; i < job->inputs_count; i++) {
        const struct artifact_ref *mine = &job->inputs[i];
        const struct artifact_ref *theirs = input_of(other, mine->name);
        bool is_same = theirs != NULL && digest_equal(theirs->digest, mine->digest);
        if (is_same || (theirs != NULL && !is_before) || d->rows.data_count == LIMIT_INPUTS)
            continue;
        struct text hash = hash_text(mine->digest, &d->arena);
        struct text their_hash = theirs == NULL ? TEXT("") : hash_text(theirs->digest, &d->arena);
        d->rows.data[d->rows.data_count++] =
            (struct value_change){.name = mine->name,
                                  .before = is_before ? hash : their_hash,
                                  .after = is_before ? their_hash : hash};
    }
}

static void add_code(struct diff *d, const char *name, struct text before, struct text after)
{
    if (!text_equal(before, after))
        d->rows.code[d->rows.code_count++] =
            (struct value_change){.name = text_of(name), .before = before, .after = after};
}

static enum err read_state(void *context, uint64_t begin, void *out, size_t size,
                           struct err_text *et)
{
    return client_reader_read(context, begin, out, size, et);
}

static enum err fill(struct diff *d, struct err_text *et)
{
    struct arena *arena = &d->arena;
    d->rows.before = d->before.row;
    d->rows.after = d->after.row;
    d->rows.recipe = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *d->rows.recipe);
    d->rows.data = arena_alloc(arena, LIMIT_INPUTS, sizeof *d->rows.data);
    d->rows.code = arena_alloc(arena, CODE_MAX, sizeof *d->rows.code);
    if (d->rows.recipe == NULL || d->rows.data == NULL || d->rows.code == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(fork_keys_compare(bytes_span(&d->before.recipe), bytes_span(&d->after.recipe), add_key, d));
    add_files(d, &d->before.job, &d->after.job, true);
    add_files(d, &d->after.job, &d->before.job, false);
    add_code(d, "profile", text_of(d->before.profile), text_of(d->after.profile));
    add_code(d, "known answer", hash_text(d->before.job.answer, arena),
             hash_text(d->after.job.answer, arena));
    const struct module_change_state before = {client_reader_size(d->before.state), read_state,
                                               d->before.state};
    const struct module_change_state after = {client_reader_size(d->after.state), read_state,
                                              d->after.state};
    return module_change_list(&before, &after, arena, &d->rows.modules, &d->rows.modules_count, et);
}

static void print_changes(FILE *out, const char *title, const struct value_change *rows,
                          uint32_t count)
{
    if (count == 0)
        (void)fprintf(out, "%-10s the same\n", title);
    for (uint32_t i = 0; i < count; i++)
        (void)fprintf(out, "%-10s %.*s: %s%.*s -> %s%.*s\n", i == 0 ? title : "",
                      TEXT_ARGS(rows[i].name), rows[i].before.size == 0 ? "-" : "",
                      TEXT_ARGS(rows[i].before), rows[i].after.size == 0 ? "-" : "",
                      TEXT_ARGS(rows[i].after));
}

/* Every module there is in both, and in none has a number changed. */
static bool is_same(const struct checkpoint_diff *rows)
{
    for (uint32_t i = 0; i < rows->modules_count; i++) {
        double change = rows->modules[i].change;
        if (!isfinite(change) || change > 0)
            return false;
    }
    return true;
}

static enum err print_modules(struct invocation *invocation, const struct checkpoint_diff *rows,
                              uint64_t top)
{
    static const struct table_column columns[] = {{"CHANGE", TABLE_RIGHT},
                                                  {"NORM", TABLE_RIGHT},
                                                  {"WAS", TABLE_RIGHT},
                                                  {"PARAMETERS", TABLE_RIGHT},
                                                  {"MODULE", TABLE_LEFT}};
    struct table table;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < rows->modules_count && (top == 0 || i < top); i++) {
        const struct module_change *row = &rows->modules[i];
        char text[HUMAN_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%s", human_number(row->change, text));
        table_cell(&table, 1, STYLE_PLAIN, "%s", human_number(row->norm_after, text));
        table_cell(&table, 2, STYLE_PLAIN, "%s", human_number(row->norm_before, text));
        table_cell(&table, 3, STYLE_PLAIN, "%" PRIu64, row->parameters);
        table_cell(&table, 4, STYLE_PLAIN, "%.*s", TEXT_ARGS(row->module));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}

static enum err print_diff(struct invocation *invocation, const struct checkpoint_diff *rows,
                           uint64_t top)
{
    char a[CHECKPOINT_FIND_BYTES], b[CHECKPOINT_FIND_BYTES];
    FILE *out = invocation->out;
    (void)fprintf(out, "%-10s %s (step %" PRIu64 ") -> %s (step %" PRIu64 ")\n", "checkpoint",
                  checkpoint_find_name(rows->before.digest, a), rows->before.step,
                  checkpoint_find_name(rows->after.digest, b), rows->after.step);
    print_changes(out, "recipe", rows->recipe, rows->recipe_count);
    print_changes(out, "data", rows->data, rows->data_count);
    print_changes(out, "code", rows->code, rows->code_count);
    if (is_same(rows)) {
        (void)fprintf(out, "%-10s the same\n", "weights");
        return ERR_OK;
    }
    return print_modules(invocation, rows, top);
}

static void init_side(struct side *side)
{
    bytes_init(&side->recipe, LIMIT_RECIPE_BYTES);
}

static void fini_side(struct side *side)
{
    bytes_fini(&side->recipe);
    client_reader_close(&side->state);
}

enum err cmd_ckpt_diff(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    struct diff d = {0};
    uint64_t top = invocation->json ? 0 : TOP_DEFAULT;
    arena_init(&d.arena, ARENA_BYTES_MAX);
    init_side(&d.before);
    init_side(&d.after);
    enum err err;
    TRY_OUT(command_u64(invocation, "top", 0, LIMIT_LIST_ROWS, &top, et));
    TRY_OUT(command_connect(invocation, &client, et));
    TRY_OUT(read_side(client, invocation->arguments[0], &d.arena, &d.before, et));
    TRY_OUT(read_side(client, invocation->arguments[1], &d.arena, &d.after, et));
    TRY_OUT(fill(&d, et));
    if (invocation->json) {
        struct json_write w;
        if (top > 0)
            d.rows.modules_count = (uint32_t)MIN(top, (uint64_t)d.rows.modules_count);
        json_write_init(&w, JSON_WRITE_PRETTY, (size_t)1 << 27);
        json_view_object(&w, NULL, &message_type_checkpoint_diff, &d.rows);
        err = command_print_json(invocation, &w);
    } else {
        err = print_diff(invocation, &d.rows, top);
    }
out:
    fini_side(&d.before);
    fini_side(&d.after);
    client_close(&client);
    arena_fini(&d.arena);
    return err;
}
