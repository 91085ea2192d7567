/* sched_variant.c - see sched_variant.h. */
#include "coordinator/sched/sched_variant.h"

#include <math.h>

#include "common/base/check.h"
#include "common/message/state.h"
#include "coordinator/sched/sched_view.h"

/* The rounds whose curve a variant has: its training, or the evaluation of a job without one. */
static const struct stage *rounds_of(const struct job *job, uint32_t variant)
{
    const struct stage *found = NULL;
    for (uint32_t i = 0; i < job->submitted.stages_count && found == NULL; i++) {
        const struct stage *stage = &job->stages[i];
        if (stage->run != NULL && stage->plan->variant == variant)
            found = stage;
    }
    return found;
}

/* "train learning_rate=0.0001" without the word of its kind. */
static struct text name_of(const struct stage *stage)
{
    struct text name = stage->plan->name;
    size_t skip = strlen(state_kind_word((enum stage_kind)stage->plan->kind)) + 1;
    return name.size > skip ? (struct text){name.data + skip, name.size - skip} : TEXT("");
}

static void fill_variant(const struct job *job, uint32_t variant, struct variant_row *row)
{
    const struct stage *rounds = rounds_of(job, variant);
    const struct stage *stage = sched_view_at_work(job, variant);
    *row = (struct variant_row){.loss = (double)NAN, .eval_loss = (double)NAN};
    if (stage == NULL)
        return;
    row->stage = text_of(state_kind_word((enum stage_kind)stage->plan->kind));
    row->state = (uint32_t)sched_view_state(stage);
    row->detail = stage->failure_detail;
    sched_view_count(stage, &row->done, &row->total);
    if (rounds == NULL)
        return;
    row->name = name_of(rounds);
    row->loss = curve_loss(&rounds->run->curve, false);
    row->eval_loss = curve_loss(&rounds->run->curve, true);
    row->point_count = rounds->run->curve.count;
}

/* The one with the lowest held-out loss so far, the first of equals; NULL before any has one. */
static struct variant_row *best_of(struct variant_row *rows, uint32_t count)
{
    struct variant_row *best = NULL;
    for (uint32_t v = 0; v < count; v++) {
        if (isfinite(rows[v].eval_loss) && rows[v].state != STAGE_FAILED &&
            (best == NULL || rows[v].eval_loss < best->eval_loss))
            best = &rows[v];
    }
    return best;
}

void sched_variant_fill(const struct sched *s, const struct job *job, struct job_row *row)
{
    uint32_t count = job->settings.variant_count;
    struct variant_row *rows = arena_alloc(s->view_arena, count, sizeof *rows);
    row->loss = row->eval_loss = (double)NAN;
    if (rows == NULL)
        return;
    for (uint32_t v = 0; v < count; v++) {
        const struct stage *rounds = rounds_of(job, v);
        fill_variant(job, v, &rows[v]);
        if (rounds != NULL)
            row->step_bytes = MAX(row->step_bytes, rounds->run->step_bytes);
    }
    struct variant_row *best = best_of(rows, count);
    const struct variant_row *shown = best != NULL ? best : &rows[0];
    row->loss = shown->loss;
    row->eval_loss = shown->eval_loss;
    if (count == 1)
        return;
    if (best != NULL)
        best->is_best = true;
    row->variants = rows;
    row->variants_count = count;
}

bool sched_variant_place(const struct sched *s, const struct stage *stage,
                         struct artifact_ref *refs, uint32_t count)
{
    if (stage->job->settings.variant_count == 1)
        return true;
    struct text folder = name_of(stage);
    for (uint32_t i = 0; i < count; i++) {
        char *name =
            arena_print(s->view_arena, "%.*s/%.*s", TEXT_ARGS(folder), TEXT_ARGS(refs[i].name));
        if (name == NULL)
            return false;
        refs[i].name = text_of(name);
    }
    return true;
}

size_t sched_job_points(const struct sched *s, size_t index, uint32_t variant, uint64_t after,
                        struct log_point *points, size_t capacity, uint64_t *total)
{
    const struct job *job = s->jobs[index];
    size_t count = 0;
    *total = 0;
    for (uint32_t v = 0; v < job->settings.variant_count; v++) {
        const struct stage *rounds =
            variant == SCHED_ALL || variant == v ? rounds_of(job, v) : NULL;
        size_t here = rounds == NULL ? 0 : rounds->run->curve.count;
        size_t skip = (size_t)MIN(after - MIN(after, *total), (uint64_t)here);
        size_t taken = MIN(here - skip, capacity - count);
        if (taken > 0)
            memcpy(points + count, rounds->run->curve.points + skip, taken * sizeof *points);
        count += taken;
        *total += here;
    }
    return count;
}
