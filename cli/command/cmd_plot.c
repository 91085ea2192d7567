/* cmd_plot.c - `qctl plot`: curves of jobs in the terminal or as a picture; what quantizing cost.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client/client.h"
#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/job_stats.h"
#include "cli/command/run_plot.h"
#include "cli/picture/picture.h"
#include "cli/plot/plot_page.h"
#include "cli/plot/plot_text.h"
#include "cli/plot/run_metric.h"
#include "cli/stats/error_map.h"
#include "cli/stats/histogram_map.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "common/message/state.h"

typedef enum err (*write_f)(const struct picture *picture, struct bytes *out);

enum { HEIGHT_DEFAULT = 20, JOBS_MAX = 16 };

/* What the words of the command line ask for. */
struct request {
    struct invocation *invocation;
    const char *jobs[JOBS_MAX];
    size_t job_count;
    const char *word; /* a metric, "errors" or "calibration"; NULL: not said */
    const char *path; /* of a picture; NULL: the terminal */
    write_f write;
    enum run_plot_x x;
    double weight;
    uint64_t width, height; /* in the terminal */
};

static bool ends_with(const char *text, const char *ending)
{
    size_t size = strlen(text), tail = strlen(ending);
    return size > tail && strcmp(text + size - tail, ending) == 0;
}

static bool is_file(const char *word)
{
    static const char *const endings[] = {".svg", ".png", ".gif", ".jpg", ".jpeg", ".pdf"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        if (ends_with(word, endings[i]))
            return true;
    }
    return strchr(word, '/') != NULL;
}

static bool is_word(const char *word)
{
    return run_metric_title(word) != NULL || strcmp(word, "errors") == 0 ||
           strcmp(word, "calibration") == 0;
}

/* By what the file's name ends in. */
static enum err find_writer(const char *path, write_f *out, struct err_text *et)
{
    static const struct {
        const char *ending;
        write_f write;
    } writers[] = {{".svg", picture_write_svg}, {".png", picture_write_png}};
    for (size_t i = 0; i < COUNT_OF(writers); i++) {
        if (ends_with(path, writers[i].ending)) {
            *out = writers[i].write;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_USAGE, "%s: expected a name that ends in .svg or .png", path);
}

static enum err find_value(const struct invocation *invocation, enum error_map_value *out,
                           struct err_text *et)
{
    static const char *const words[] = {[ERROR_MAP_WEIGHTED] = "weighted",
                                        [ERROR_MAP_RELATIVE] = "error",
                                        [ERROR_MAP_OUTPUT] = "output"};
    const char *word = command_text(invocation, "by");
    *out = ERROR_MAP_WEIGHTED;
    for (size_t i = 0; word != NULL && i < COUNT_OF(words); i++) {
        *out = (enum error_map_value)i;
        if (strcmp(words[i], word) == 0)
            return ERR_OK;
    }
    return word == NULL ? ERR_OK
                        : error_set(et, ERR_USAGE,
                                    "--by: expected weighted, error or output, "
                                    "found %s",
                                    word);
}

static enum err write_picture(const struct picture *picture, write_f write, const char *path,
                              struct err_text *et)
{
    struct bytes file;
    bytes_init(&file, SIZE_MAX);
    enum err err = write(picture, &file);
    if (err == ERR_OK)
        err = file_write_atomic(path, bytes_span(&file), et);
    bytes_fini(&file);
    return err;
}

static enum err draw_tensor(const struct job_stats *stats, const char *name,
                            struct picture *picture, struct err_text *et)
{
    struct overview overview;
    struct tensor_view view;
    TRY(overview_init(&overview, &stats->figures, stats->statistics));
    enum err err = tensor_view_find(&overview, &stats->recipe, stats->statistics, name, &view, et);
    if (err == ERR_OK)
        err = histogram_map_draw(&view, picture, et);
    overview_fini(&overview);
    return err;
}

/* ---- what quantizing cost ---- */

static enum err print_tensor(const struct request *r, const struct job_stats *stats,
                             const char *name, struct err_text *et)
{
    struct overview overview;
    struct tensor_view view;
    TRY(overview_init(&overview, &stats->figures, stats->statistics));
    enum err err = tensor_view_find(&overview, &stats->recipe, stats->statistics, name, &view, et);
    if (err == ERR_OK)
        err = tensor_view_print(&view, &r->invocation->style, r->invocation->out);
    overview_fini(&overview);
    return err;
}

static enum err plot_stats(const struct request *r, struct err_text *et)
{
    struct job_stats stats;
    struct picture picture;
    enum error_map_value value;
    write_f write = r->write;
    bool is_errors = strcmp(r->word, "errors") == 0;
    const char *tensor = command_text(r->invocation, "tensor");
    const char *path = r->path != NULL || !is_errors ? r->path : "errors.svg";
    if (r->job_count != 1)
        return error_set(et, ERR_USAGE, "%s are drawn of one job, found %zu", r->word,
                         r->job_count);
    if (!is_errors && tensor == NULL)
        return error_set(et, ERR_USAGE,
                         "calibration: expected --tensor NAME, the tensor whose input is drawn");
    TRY(write == NULL && path != NULL ? find_writer(path, &write, et) : ERR_OK);
    TRY(find_value(r->invocation, &value, et));
    TRY(job_stats_open(r->invocation, r->jobs[0], &stats, et));
    enum err err = path == NULL ? print_tensor(r, &stats, tensor, et)
                   : is_errors  ? error_map_draw(&stats.figures, value, stats.name, &picture, et)
                                : draw_tensor(&stats, tensor, &picture, et);
    if (err == ERR_OK && path != NULL) {
        err = write_picture(&picture, write, path, et);
        picture_fini(&picture);
        if (err == ERR_OK)
            (void)fprintf(r->invocation->messages, "%s\n", path);
    }
    job_stats_close(&stats);
    return err;
}

/* ---- curves ---- */

static enum err show_curves(const struct request *r, const struct plot *plot, struct err_text *et)
{
    struct picture picture;
    struct frame frame;
    const struct plot_text_place all = {0, 0, (size_t)r->width, (size_t)r->height};
    if (r->path != NULL) {
        TRY(plot_page_draw(plot, &picture, et));
        enum err err = write_picture(&picture, r->write, r->path, et);
        picture_fini(&picture);
        if (err == ERR_OK)
            (void)fprintf(r->invocation->messages, "%s\n", r->path);
        return err;
    }
    TRY(frame_init(&frame, all.width, all.height, r->invocation->style.unicode));
    enum err err = plot_text_draw(plot, &frame, all, et);
    if (err == ERR_OK)
        frame_print(&frame, &r->invocation->style, r->invocation->out);
    frame_fini(&frame);
    return err;
}

static enum err label_plot(const struct request *r, const struct follow *follow,
                           struct run_plot *plot)
{
    char smooth[48] = "";
    const struct log_point *last =
        follow->point_count > 0 ? &follow->points[follow->point_count - 1] : NULL;
    if (r->weight > 0)
        (void)snprintf(smooth, sizeof smooth, "; smoothed by %g", r->weight);
    if (r->job_count == 1) {
        plot->plot.title = arena_print(&plot->arena, "%s: %s", follow->name, plot->plot.title);
        plot->plot.subtitle = arena_print(&plot->arena, "step %llu of %llu%s%s",
                                          (unsigned long long)(last != NULL ? last->step : 0),
                                          (unsigned long long)follow->steps_total, smooth,
                                          plot->plot.is_log ? "; logarithmic" : "");
    } else {
        plot->plot.subtitle = arena_print(&plot->arena, "%zu jobs%s%s", r->job_count, smooth,
                                          plot->plot.is_log ? "; logarithmic" : "");
    }
    return plot->plot.title != NULL && plot->plot.subtitle != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
}

static enum err fetch(const struct request *r, struct client *client, const char *prefix,
                      struct follow *follow, struct err_text *et)
{
    uint64_t job = 0;
    TRY(follow_find(client, prefix, &job, et));
    follow_init(follow, client, job, r->invocation);
    follow->is_quiet = true;
    return follow_step(follow, et);
}

/* Adds the lines of every job, under its name where there are others, with its id where another is
 * called the same. */
static enum err add_jobs(const struct request *r, const struct follow *follows,
                         struct run_plot *plot, struct err_text *et)
{
    for (size_t i = 0; i < r->job_count; i++) {
        char label[LIMIT_NAME_BYTES + 16];
        size_t same = 0;
        for (size_t k = 0; k < r->job_count; k++)
            same += strcmp(follows[k].name, follows[i].name) == 0;
        (void)snprintf(label, sizeof label, "%s%s%.7s", follows[i].name, same > 1 ? " " : "",
                       same > 1 ? follows[i].id : "");
        TRY(run_plot_add(plot, r->word, &follows[i], r->job_count > 1 ? label : NULL, r->x,
                         r->weight, r->path != NULL, et));
    }
    return label_plot(r, &follows[0], plot);
}

static enum err plot_curves(const struct request *r, struct client *client, struct err_text *et)
{
    struct run_plot plot;
    struct follow *follows = mem_alloc(r->job_count, sizeof *follows);
    enum err err = follows != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    run_plot_init(&plot, r->word);
    plot.plot.is_log = command_flag(r->invocation, "log");
    for (size_t i = 0; i < r->job_count && err == ERR_OK; i++)
        err = fetch(r, client, r->jobs[i], &follows[i], et);
    if (err == ERR_OK)
        err = add_jobs(r, follows, &plot, et);
    if (err == ERR_OK)
        err = show_curves(r, &plot.plot, et);
    for (size_t i = 0; i < r->job_count && follows != NULL; i++)
        mem_free(follows[i].points);
    mem_free(follows);
    run_plot_fini(&plot);
    return err;
}

/* ---- the command line ---- */

/* Where nothing is said, a job that was not trained but quantized is asked what that cost. */
static enum err settle_word(struct request *r, struct client *client, struct err_text *et)
{
    struct msg_job_get get = {.prefix = text_of(r->jobs[0]), .points_after = UINT64_MAX};
    const union message_any *reply = NULL;
    bool quantizes = false;
    if (r->word != NULL)
        return ERR_OK;
    TRY(client_request(client, &message_type_msg_job_get, &get, &message_type_msg_job, &reply, et));
    r->word = "loss";
    for (uint32_t i = 0; i < reply->job.stages_count; i++) {
        uint32_t kind = reply->job.stages[i].kind;
        quantizes = quantizes || kind == STAGE_KIND_QUANTIZE || kind == STAGE_KIND_REPLAY;
        if (kind == STAGE_KIND_TRAIN)
            return ERR_OK;
    }
    r->word = quantizes ? "errors" : r->word;
    return ERR_OK;
}

static enum err read_words(struct request *r, struct err_text *et)
{
    const struct invocation *invocation = r->invocation;
    for (size_t i = 0; i < invocation->argument_count; i++) {
        const char *word = invocation->arguments[i];
        if (is_word(word) && r->word == NULL)
            r->word = word;
        else if (is_file(word) && r->path == NULL)
            r->path = word;
        else if (is_word(word) || is_file(word) || r->job_count == JOBS_MAX)
            return error_set(et, ERR_USAGE,
                             "%s: expected jobs (%d at most), one of %s, errors, "
                             "calibration, and one file",
                             word, JOBS_MAX, run_metric_words());
        else
            r->jobs[r->job_count++] = word;
    }
    if (r->job_count == 0)
        r->jobs[r->job_count++] = "last";
    if (r->word == NULL && command_text(invocation, "tensor") != NULL)
        r->word = "calibration";
    if (r->word == NULL && command_text(invocation, "by") != NULL)
        r->word = "errors";
    return r->path != NULL ? find_writer(r->path, &r->write, et) : ERR_OK;
}

static enum err read_options(struct request *r, struct err_text *et)
{
    static const char *const words[] = {[RUN_PLOT_STEP] = "step",
                                        [RUN_PLOT_EPOCH] = "epoch",
                                        [RUN_PLOT_TOKENS] = "tokens",
                                        [RUN_PLOT_TIME] = "time"};
    const struct invocation *invocation = r->invocation;
    const char *x = command_text(invocation, "x");
    r->width = MAX(invocation->style.width, (size_t)PLOT_TEXT_WIDTH_MIN);
    r->height = HEIGHT_DEFAULT;
    TRY(command_f64(invocation, "smooth", 0, 0.9999, &r->weight, et));
    TRY(command_u64(invocation, "width", PLOT_TEXT_WIDTH_MIN, FRAME_SIDE_MAX, &r->width, et));
    TRY(command_u64(invocation, "height", PLOT_TEXT_HEIGHT_MIN, FRAME_SIDE_MAX, &r->height, et));
    for (size_t i = 0; x != NULL && i < COUNT_OF(words); i++) {
        r->x = (enum run_plot_x)i;
        if (strcmp(words[i], x) == 0)
            return ERR_OK;
    }
    return x == NULL ? ERR_OK
                     : error_set(et, ERR_USAGE,
                                 "--x: expected step, epoch, tokens or time, found \"%s\"", x);
}

enum err cmd_plot(struct invocation *invocation, struct err_text *et)
{
    struct request r = {.invocation = invocation};
    struct client *client = NULL;
    TRY(read_options(&r, et));
    TRY(read_words(&r, et));
    TRY(command_connect(invocation, &client, et));
    enum err err = settle_word(&r, client, et);
    bool is_curve = err == ERR_OK && run_metric_title(r.word) != NULL;
    if (is_curve)
        err = plot_curves(&r, client, et);
    client_close(&client);
    return err == ERR_OK && !is_curve ? plot_stats(&r, et) : err;
}
