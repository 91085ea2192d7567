/* output_schema.c - which verb prints which structure. The committed files of schemas/json are what
 * this prints; a test compares them. */
#include "cli/command/output_schema.h"

#include <string.h>

#include "cli/command/output_shape.h"
#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/view/json_schema.h"

enum shape { SHAPE_LIST, SHAPE_LINES, SHAPE_OBJECT };

static const struct {
    const char *name; /* of the verb, joined by hyphens */
    enum shape shape;
    const struct message_type *type;
    size_t count_max; /* of a list */
    const char *title;
} outputs[] = {
    {"jobs", SHAPE_LIST, &message_type_job_row, LIMIT_LIST_ROWS, "qctl jobs -o json"},
    {"show", SHAPE_OBJECT, &message_type_msg_job, 0, "qctl show -o json"},
    {"graph", SHAPE_LIST, &message_type_stage_row, LIMIT_JOB_STAGES, "qctl graph -o json"},
    {"explain", SHAPE_LIST, &message_type_explain_row, LIMIT_LIST_ROWS, "qctl explain -o json"},
    {"workers", SHAPE_LIST, &message_type_worker_row, LIMIT_WORKERS, "qctl workers -o json"},
    {"workers-providers", SHAPE_LIST, &message_type_provider_row, LIMIT_PROVIDERS,
     "qctl workers providers -o json"},
    {"workers-scale", SHAPE_LIST, &message_type_scale_line, LIMIT_LIST_ROWS,
     "qctl workers scale --dry-run -o json"},
    {"ckpt-show", SHAPE_OBJECT, &message_type_checkpoint_view, 0, "qctl ckpt show -o json"},
    {"ckpt-diff", SHAPE_OBJECT, &message_type_checkpoint_diff, 0, "qctl ckpt diff -o json"},
    {"ckpt-verify", SHAPE_LIST, &message_type_checkpoint_check, LIMIT_LIST_ROWS,
     "qctl ckpt verify -o json"},
    {"ckpt-forget", SHAPE_OBJECT, &message_type_msg_checkpoint_controlled, 0,
     "qctl ckpt forget -o json"},
    {"ckpt-log", SHAPE_LIST, &message_type_checkpoint_row, LIMIT_LIST_ROWS,
     "qctl ckpt log -o json"},
    {"metrics", SHAPE_LIST, &message_type_log_point, UINT32_MAX, "qctl metrics -o json"},
    {"watch", SHAPE_LINES, &message_type_log_point, 0, "qctl watch -o json: a value a line"},
    {"logs", SHAPE_LINES, &message_type_event_row, 0, "qctl logs -o json: a value a line"},
};

/* What any verb prints in place of its own when it fails. */
static void write_error(struct json_write *w)
{
    json_write_text(w, "type", TEXT("object"));
    json_write_object_begin(w, "properties");
    json_write_object_begin(w, "code");
    json_write_text(w, "type", TEXT("string"));
    json_write_array_begin(w, "enum");
    for (unsigned i = ERR_OK + 1; i < ERR_COUNT; i++)
        json_write_text(w, NULL, text_of(error_name((enum err)i)));
    json_write_array_end(w);
    json_write_object_end(w);
    json_write_object_begin(w, "error");
    json_write_text(w, "type", TEXT("string"));
    json_write_object_end(w);
    json_write_object_end(w);
    json_write_array_begin(w, "required");
    json_write_text(w, NULL, TEXT("code"));
    json_write_text(w, NULL, TEXT("error"));
    json_write_array_end(w);
}

static void begin(struct json_write *w, const char *title)
{
    json_write_init(w, JSON_WRITE_PRETTY, (size_t)1 << 20);
    json_write_object_begin(w, NULL);
    json_write_text(w, "$schema", TEXT("https://json-schema.org/draft/2020-12/schema"));
    json_write_text(w, "title", text_of(title));
}

static void print_names(FILE *out)
{
    const char *name, *title;
    (void)fprintf(out, "error\n");
    for (size_t i = 0; (name = output_shape_name(i, &title)) != NULL; i++)
        (void)fprintf(out, "%s\n", name);
    for (size_t i = 0; i < COUNT_OF(outputs); i++)
        (void)fprintf(out, "%s\n", outputs[i].name);
}

/* Index of the shape of that name; *title: NULL when there is none. */
static size_t find_shape(const char *name, const char **title, struct nearest *nearest)
{
    const char *other;
    size_t i = 0;
    *title = NULL;
    for (; (other = output_shape_name(i, title)) != NULL && strcmp(name, other) != 0; i++)
        nearest_offer(nearest, text_of(name), other);
    *title = other != NULL ? *title : NULL;
    return i;
}

enum err output_schema_print(struct invocation *invocation, const char *name, struct err_text *et)
{
    struct json_write w;
    struct nearest nearest = {0};
    const char *title = NULL;
    size_t i = 0;
    bool is_error = name != NULL && strcmp(name, "error") == 0;
    if (name == NULL) {
        print_names(invocation->out);
        return ERR_OK;
    }
    for (; i < COUNT_OF(outputs) && strcmp(name, outputs[i].name) != 0; i++)
        nearest_offer(&nearest, text_of(name), outputs[i].name);
    size_t shape = find_shape(name, &title, &nearest);
    if (i == COUNT_OF(outputs) && title == NULL && !is_error)
        return error_set(et, ERR_NOT_FOUND, "no schema is named %s%s%s%s", name,
                         nearest.word == NULL ? "; qctl help json lists them" : "; did you mean ",
                         nearest.word == NULL ? "" : nearest.word, nearest.word == NULL ? "" : "?");
    begin(&w, is_error        ? "qctl ... -o json, when it fails"
              : title != NULL ? title
                              : outputs[i].title);
    if (is_error)
        write_error(&w);
    else if (title != NULL)
        output_shape_write(&w, shape);
    else if (outputs[i].shape == SHAPE_LIST)
        json_schema_list(&w, outputs[i].type, outputs[i].count_max);
    else
        json_schema_object(&w, outputs[i].type);
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}
