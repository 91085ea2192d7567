/* smoothquant.h - moving the range of activations into weights (SmoothQuant, Xiao et al. 2023).
 *
 * Activations have channels far larger than the rest, and eight bits a token leave the rest
 * nothing; weights are even. Dividing a channel by s and multiplying its weights by s shares the
 * difficulty:
 *
 *   s_j = max|x_j|^alpha / max|w_j|^(1 - alpha)        (equation 4)
 *
 * over all tokens and over all linear layers that read the channel.
 * Refuses to know: how maxima were observed, what feeds the channel.
 */
#ifndef WORKER_ENGINE_QUANT_SMOOTHQUANT_H
#define WORKER_ENGINE_QUANT_SMOOTHQUANT_H

#include "worker/engine/quant/channel_scale.h"

/* The paper's choice; models with larger outliers do better at 0.75 to 0.9. */
#define SMOOTHQUANT_ALPHA 0.5

/* Writes the factors of a site. max_x, max_w: (columns), finite and >= 0, of channel_scale_add_max
 * for weights; alpha in [0, 1]; scales: (columns), the same for tied channels (of which the largest
 * maxima count), within CHANNEL_SCALE_MIN..MAX. A channel that never was active, or whose weights
 * are all zero, keeps factor 1: there is nothing to share, and a token that uses it after all must
 * not meet an invented factor. */
void smoothquant_scales(const struct channel_ties *ties, size_t columns, double alpha,
                        const float *max_x, const float *max_w, float *scales);

#endif
