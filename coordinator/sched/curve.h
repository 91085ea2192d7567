/* curve.h - the log points of one training, or of one evaluation that no training goes before.
 *
 * Points are durable once a record carries them, with a checkpoint or as the end of a stage. Those
 * after the last durable one are gone with the process and come again, the same.
 *
 * Owns: the points. Refuses to know: what they measure.
 */
#ifndef COORDINATOR_SCHED_CURVE_H
#define COORDINATOR_SCHED_CURVE_H

#include "common/message/message.h"

struct curve {
    struct log_point *points; /* owned */
    size_t count, capacity;
    size_t durable; /* the first so many */
    size_t known;   /* durable once: those after `durable` come again, the same (curve_go) */
};

void curve_fini(struct curve *curve);

/* Room for so many more than the durable points, and for one more than all. ERR_OUT_OF_MEMORY:
 * nothing changed. */
MUST_CHECK enum err curve_reserve(struct curve *curve, size_t after_durable);

/* There is room. */
void curve_add(struct curve *curve, const struct log_point *point);

/* All there are is durable. */
void curve_keep(struct curve *curve);

/* Back to the durable points. */
void curve_rewind(struct curve *curve);

/* Back to the durable points, and then to these, which become durable too. There is room. */
void curve_replace(struct curve *curve, const struct log_point *points, size_t count);

/* The first `count` points are durable, of those that ever were; whether the ones after them may be
 * gone to again. At most `known`. */
void curve_go(struct curve *curve, size_t count, bool keeps_later);

/* Forgets the points of later steps: training goes back to this one; or all points. */
void curve_cut(struct curve *curve, uint64_t step);
void curve_clear(struct curve *curve);

/* The loss of the last point of this sort, NaN before the first. */
double curve_loss(const struct curve *curve, bool is_eval);

#endif
