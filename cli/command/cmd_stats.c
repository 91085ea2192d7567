/* cmd_stats.c - `qctl stats`: what calibration saw, what quantizing cost, and what to do about it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/command/cmd.h"
#include "cli/command/job_stats.h"
#include "cli/render/human.h"
#include "cli/stats/advice.h"
#include "cli/stats/overview.h"
#include "cli/stats/tensor_view.h"
#include "common/base/check.h"
#include "common/base/limits.h"

enum { TOP = 20, TOP_MAX = 1 << 20, JSON_BYTES_MAX = 256 << 20 };

/* What the command line asks for. */
struct request {
    enum overview_key key;
    size_t top;
};

static enum err read_request(const struct invocation *invocation, struct request *out,
                             struct err_text *et)
{
    const char *word = command_text(invocation, "sort");
    uint64_t top = invocation->json ? 0 : TOP;
    char words[128] = "";
    *out = (struct request){.key = OVERVIEW_WEIGHTED};
    TRY(command_u64(invocation, "top", 0, TOP_MAX, &top, et));
    out->top = top == 0 ? SIZE_MAX : (size_t)top;
    if (word == NULL)
        return ERR_OK;
    out->key = overview_key_find(word);
    for (size_t i = 0, at = 0; i < OVERVIEW_KEY_COUNT; i++)
        at += (size_t)snprintf(words + at, sizeof words - at, "%s%s", i > 0 ? ", " : "",
                               overview_key_word((enum overview_key)i));
    if (out->key == OVERVIEW_KEY_COUNT)
        return error_set(et, ERR_USAGE, "--sort: expected one of %s, found %s", words, word);
    return ERR_OK;
}

static void print_calibration(struct invocation *invocation, const struct job_stats *s)
{
    FILE *out = invocation->out;
    char hex[DIGEST_HEX_BYTES], tokens[HUMAN_BYTES];
    if (s->statistics == NULL) {
        (void)fprintf(out, "calibration: %s\n",
                      s->will_measure ? "not complete yet" : "no statistics of inputs in this job");
        return;
    }
    digest_hex(s->key, hex);
    (void)fprintf(out, "calibration: %s tokens in %" PRIu64 " rows, %zu inputs, key %.12s\n",
                  human_count(s->statistics->tokens, tokens),
                  s->statistics->rows.end - s->statistics->rows.begin, s->statistics->count,
                  digest_is_zero(s->key) ? "-" : hex);
}

/* The tensors that lost most, by the error that is looked at. */
static void sort_for_advice(struct overview *overview, const struct request *request)
{
    bool is_error = request->key == OVERVIEW_ERROR || request->key == OVERVIEW_OUTPUT;
    overview_sort(overview, is_error ? request->key : OVERVIEW_WEIGHTED);
}

static enum err print_advice(struct invocation *invocation, const struct job_stats *s,
                             const struct overview *overview)
{
    struct bytes line;
    char size[HUMAN_BYTES];
    uint64_t extra;
    bytes_init(&line, LIMIT_RECIPE_BYTES);
    enum err err = advice_print(overview, &s->recipe, &line, &extra);
    if (err == ERR_OK && line.size > 0)
        (void)fprintf(invocation->out, "\n# below quantize: in the recipe, for %s more\n%.*s",
                      human_size(extra, size), (int)line.size, (const char *)line.data);
    bytes_fini(&line);
    return err;
}

static enum err print_overview(struct invocation *invocation, const struct job_stats *s,
                               struct overview *overview, const struct request *request)
{
    print_calibration(invocation, s);
    if (overview->count == 0) {
        (void)fprintf(invocation->out, "no tensor is quantized yet\n");
        return ERR_OK;
    }
    overview_sort(overview, request->key);
    TRY(overview_print(overview, request->top, &invocation->style, invocation->header,
                       invocation->out));
    if (overview->count > request->top)
        (void)fprintf(invocation->out, "%zu more; --top 0 lists all\n",
                      overview->count - request->top);
    sort_for_advice(overview, request);
    return print_advice(invocation, s, overview);
}

static void write_calibration(const struct job_stats *s, struct json_write *w)
{
    char hex[DIGEST_HEX_BYTES];
    if (s->statistics == NULL) {
        json_write_null(w, "calibration");
        return;
    }
    digest_hex(s->key, hex);
    json_write_object_begin(w, "calibration");
    if (digest_is_zero(s->key))
        json_write_null(w, "key");
    else
        json_write_text(w, "key", text_of(hex));
    json_write_u64(w, "rows", s->statistics->rows.end - s->statistics->rows.begin);
    json_write_u64(w, "tokens", s->statistics->tokens);
    json_write_u64(w, "inputs", s->statistics->count);
    json_write_object_end(w);
}

static enum err write_advice(const struct job_stats *s, const struct overview *overview,
                             struct json_write *w)
{
    struct bytes line;
    uint64_t extra;
    bytes_init(&line, LIMIT_RECIPE_BYTES);
    enum err err = advice_print(overview, &s->recipe, &line, &extra);
    if (err == ERR_OK && line.size > 0) {
        json_write_object_begin(w, "advice");
        json_write_text(w, "quantize", (struct text){(const char *)line.data, line.size - 1});
        json_write_u64(w, "extra_bytes", extra);
        json_write_object_end(w);
    } else {
        json_write_null(w, "advice");
    }
    bytes_fini(&line);
    return err;
}

static enum err write_overview(struct invocation *invocation, const struct job_stats *s,
                               struct overview *overview, const struct request *request)
{
    struct json_write w;
    char id[17];
    (void)snprintf(id, sizeof id, "%016" PRIx64, s->job);
    json_write_init(&w, JSON_WRITE_PRETTY, JSON_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "job", text_of(id));
    json_write_text(&w, "name", s->name);
    write_calibration(s, &w);
    overview_sort(overview, request->key);
    overview_write(overview, request->top, &w);
    sort_for_advice(overview, request);
    enum err err = write_advice(s, overview, &w);
    json_write_object_end(&w);
    if (err == ERR_OK)
        return command_print_json(invocation, &w);
    json_write_fini(&w);
    return err;
}

/* ---- one tensor ---- */

static enum err show_tensor(struct invocation *invocation, const struct job_stats *s,
                            const struct overview *overview, const char *name, struct err_text *et)
{
    struct tensor_view view;
    struct json_write w;
    TRY(tensor_view_find(overview, &s->recipe, s->statistics, name, &view, et));
    if (!invocation->json)
        return tensor_view_print(&view, &invocation->style, invocation->out);
    json_write_init(&w, JSON_WRITE_PRETTY, JSON_BYTES_MAX);
    tensor_view_write(&view, &w);
    return command_print_json(invocation, &w);
}

enum err cmd_stats(struct invocation *invocation, struct err_text *et)
{
    struct request request;
    struct job_stats stats;
    struct overview overview;
    const char *name = invocation->argument_count > 1 ? invocation->arguments[1] : NULL;
    TRY(read_request(invocation, &request, et));
    TRY(job_stats_open(invocation,
                       invocation->argument_count > 0 ? invocation->arguments[0] : "last", &stats,
                       et));
    enum err err = overview_init(&overview, &stats.figures, stats.statistics);
    if (err == ERR_OK) {
        if (name != NULL)
            err = show_tensor(invocation, &stats, &overview, name, et);
        else if (invocation->json)
            err = write_overview(invocation, &stats, &overview, &request);
        else
            err = print_overview(invocation, &stats, &overview, &request);
        overview_fini(&overview);
    }
    job_stats_close(&stats);
    return err;
}
