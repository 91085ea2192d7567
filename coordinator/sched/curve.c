/* curve.c - an array that grows. */
#include "coordinator/sched/curve.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { POINTS_FIRST = 16 };

void curve_fini(struct curve *curve)
{
    mem_free(curve->points);
    *curve = (struct curve){.points = NULL};
}

enum err curve_reserve(struct curve *curve, size_t after_durable)
{
    size_t count = MAX(curve->durable + after_durable, curve->count + 1);
    if (count <= curve->capacity)
        return ERR_OK;
    size_t capacity = MAX(MAX(count, curve->capacity * 2), (size_t)POINTS_FIRST);
    struct log_point *points = mem_resize(curve->points, capacity, sizeof *points);
    if (points == NULL)
        return ERR_OUT_OF_MEMORY;
    curve->points = points;
    curve->capacity = capacity;
    return ERR_OK;
}

void curve_add(struct curve *curve, const struct log_point *point)
{
    ASSERT(curve->count < curve->capacity);
    curve->points[curve->count++] = *point;
}

void curve_keep(struct curve *curve)
{
    curve->durable = curve->count;
    curve->known = MAX(curve->known, curve->durable);
}

void curve_rewind(struct curve *curve)
{
    curve->count = curve->durable;
}

void curve_replace(struct curve *curve, const struct log_point *points, size_t count)
{
    ASSERT(curve->durable + count <= curve->capacity);
    if (count > 0)
        memmove(curve->points + curve->durable, points, count * sizeof *points);
    curve->durable += count;
    curve->count = curve->durable;
    curve->known = MAX(curve->known, curve->durable);
}

void curve_go(struct curve *curve, size_t count, bool keeps_later)
{
    ASSERT(count <= curve->known);
    curve->durable = curve->count = count;
    if (!keeps_later)
        curve->known = count;
}

void curve_cut(struct curve *curve, uint64_t step)
{
    size_t kept = 0;
    while (kept < curve->durable && curve->points[kept].step <= step)
        kept++;
    curve->durable = kept;
    curve->count = curve->known = kept;
}

void curve_clear(struct curve *curve)
{
    curve->durable = curve->count = curve->known = 0;
}

double curve_loss(const struct curve *curve, bool is_eval)
{
    for (size_t i = curve->count; i > 0; i--) {
        if (curve->points[i - 1].is_eval == is_eval)
            return curve->points[i - 1].loss;
    }
    return (double)NAN;
}
