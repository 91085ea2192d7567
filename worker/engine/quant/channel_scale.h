/* channel_scale.h - factors of input channels: weights times s, activations divided by s.
 *
 *   (x / s) (W s)^T = x W^T        s: (columns), one factor a channel
 *
 * What AWQ and SmoothQuant have in common: which channels must share a factor, and what weights say
 * of a channel. Pure, f32 and f64 in fixed order.
 * Refuses to know: where x / s comes from (nn/fold_scale.h).
 */
#ifndef WORKER_ENGINE_QUANT_CHANNEL_SCALE_H
#define WORKER_ENGINE_QUANT_CHANNEL_SCALE_H

#include <stddef.h>

/* Channels that must have one factor, because one thing feeds them all. Columns come in runs of
 * repeat * width; within a run those equal modulo width are one channel. Query heads that share a
 * kv head are the case: width is that of a head, repeat the number of heads.
 *
 *   width 3, repeat 2:   | a b c a b c | d e f d e f | ...
 *
 * {0}: every column is a channel of its own. */
struct channel_ties {
    size_t width, repeat;
};

/* Bounds of a factor: what is beyond them would move all of a channel's range from one side to the
 * other and cost the other side's digits. */
#define CHANNEL_SCALE_MIN 1e-4f
#define CHANNEL_SCALE_MAX 1e4f

/* The largest, or the mean, of values (columns, whole runs) over the channel that `column` is of.
 */
float channel_scale_max_of(const struct channel_ties *ties, const float *values, size_t column);
double channel_scale_mean_of(const struct channel_ties *ties, const double *values, size_t column);

/* max[c] = the largest of max[c] and |w| over column c of w (rows, columns): call it for each
 * linear layer of a site, from zeros. */
void channel_scale_add_max(size_t rows, size_t columns, const float *w, float *max);

/* w (rows, columns) times the factors of its columns. */
void channel_scale_apply(size_t rows, size_t columns, const float *scales, float *w);

#endif
