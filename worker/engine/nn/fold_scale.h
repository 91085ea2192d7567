/* fold_scale.h - dividing the inputs of linear modules by factors, where these inputs come from.
 *
 * A site's modules are to see x / s and to have weights W s, so that a quantizer finds an easier
 * problem and the model says the same. x / s costs nothing when what makes x already divides:
 *
 *   NORM     x = norm(...) * g + b        g / s, b / s; where files hold g - 1: (1 + g) / s - 1
 *   SOURCE   x = sum of p (W_v h + b_v)   rows of W_v and elements of b_v / s; query heads that
 *            (values under attention)     share a kv head have one s (fold_scale_ties)
 *            x = act(gate) (W_u h + b_u)  rows of W_u and elements of b_u / s
 *
 * Everything that reads a norm is one site (model_site.h), so its factor is in all of them.
 *
 *   a module's weights, folded:   W'(r, c) = W(r, c) * s_in(c) / s_out(r)
 *
 * Refuses to know: where factors come from, files, grids.
 */
#ifndef WORKER_ENGINE_NN_FOLD_SCALE_H
#define WORKER_ENGINE_NN_FOLD_SCALE_H

#include "common/mem/arena.h"
#include "worker/engine/nn/model_overlay.h"
#include "worker/engine/nn/model_site.h"
#include "worker/engine/quant/channel_scale.h"

enum fold_scale_place {
    FOLD_SCALE_NORM,
    FOLD_SCALE_SOURCE,
    /* Sites that must be left alone: */
    FOLD_SCALE_ACTIVATION, /* a non-linearity makes the input, no module's output is a factor of it
                            */
    FOLD_SCALE_TERNARY,    /* weights are -1, 0 and 1: a factor makes them something else */
    FOLD_SCALE_TIED,       /* the weights are the embedding as well */
};

enum fold_scale_place fold_scale_place_of(const struct model *model, const struct model_site *site);

/* Why a site is left alone, or what takes its factors: "its input comes out of a non-linearity".
 * Static string. */
const char *fold_scale_place_text(enum fold_scale_place place);

static inline bool fold_scale_place_takes(enum fold_scale_place place)
{
    return place == FOLD_SCALE_NORM || place == FOLD_SCALE_SOURCE;
}

/* Columns of the site that must have one factor. */
struct channel_ties fold_scale_ties(const struct model *model, const struct model_site *site);

/* The factors of a site, (columns). */
struct fold_scale_factors {
    size_t site; /* index of model_site() */
    const float *scales;
};

/* Moves the factors of a site that a norm feeds, (columns), to those nearest whose folded gains are
 * numbers of `dtype` (F16 or BF16): a file that stores norms in that type then rounds no gain, and
 * the modules' factors are those that the file divides by. Without it each channel is off by up to
 * half a last place of the type. (A norm's bias is rounded in any case.) Factors of other sites
 * stay, and so do those that would leave [s/2, 2s], as where a gain falls below the type's range.
 */
void fold_scale_settle(const struct model *model, size_t site, enum dtype dtype, float *scales);

struct fold_scale;

/* What the factors of some sites do to the parameters of a model, which is borrowed and must
 * outlive *out; the factors are copied. Caller owns *out. ERR_UNSUPPORTED: a site that must be left
 * alone; ERR_DATA: a factor that is not a finite number above 0, that differs between tied columns,
 * or factors twice for a site; `et` names the site. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err fold_scale_create(const struct model *model,
                                      const struct fold_scale_factors *factors, size_t count,
                                      struct fold_scale **out, struct err_text *et);
void fold_scale_destroy(struct fold_scale **fold);

/* Whether the parameter differs from the model's: a module, bias or norm. */
bool fold_scale_changes(const struct fold_scale *fold, size_t param);

/* Rows [first, first + count) of a parameter with data, changed or not, as model_values_read. One
 * rounding to f32 (products and quotients are taken in f64), so that factors that are powers of two
 * change no digit. Any thread. */
void fold_scale_read(const struct fold_scale *fold, size_t param, size_t first, size_t count,
                     float *out);

/* All that changes, in model order, for model_overlay_create. List and data are the arena's: for
 * all sites of a model, four bytes for each of its weights. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err fold_scale_overrides(const struct fold_scale *fold, struct arena *arena,
                                         struct model_override **out, size_t *count);

#endif
