/* cmd_plot.c - `qctl plot`: what a job cost, as a picture. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/job_stats.h"
#include "cli/picture/picture.h"
#include "cli/stats/error_map.h"
#include "cli/stats/histogram_map.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"

typedef enum err (*write_f)(const struct picture *picture, struct bytes *out);

/* By what the file's name ends in. */
static enum err find_writer(const char *path, write_f *out, struct err_text *et)
{
    static const struct {
        const char *ending;
        write_f write;
    } writers[] = {{".svg", picture_write_svg}, {".png", picture_write_png}};
    size_t size = strlen(path);
    for (size_t i = 0; i < COUNT_OF(writers); i++) {
        size_t ending = strlen(writers[i].ending);
        if (size > ending && strcmp(path + size - ending, writers[i].ending) == 0) {
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

enum err cmd_plot(struct invocation *invocation, struct err_text *et)
{
    struct job_stats stats;
    struct picture picture;
    enum error_map_value value;
    const char *tensor = command_text(invocation, "tensor");
    const char *job = invocation->argument_count > 0 ? invocation->arguments[0] : "last";
    const char *path = invocation->argument_count > 1 ? invocation->arguments[1] : "errors.svg";
    write_f write = NULL;
    TRY(find_writer(path, &write, et));
    TRY(find_value(invocation, &value, et));
    TRY(job_stats_open(invocation, job, &stats, et));
    enum err err = tensor != NULL ? draw_tensor(&stats, tensor, &picture, et)
                                  : error_map_draw(&stats.figures, value, stats.name, &picture, et);
    if (err == ERR_OK) {
        err = write_picture(&picture, write, path, et);
        picture_fini(&picture);
    }
    if (err == ERR_OK)
        (void)fprintf(invocation->messages, "%s\n", path);
    job_stats_close(&stats);
    return err;
}
