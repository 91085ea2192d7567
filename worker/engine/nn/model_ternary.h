/* model_ternary.h - the weights of BitLinear modules: -1, 0 and 1 times one number a matrix.
 *
 * Files hold them packed, four rows to a byte with the number beside them; as such numbers in a
 * float type; or as masters that every forward pass would round (Ma et al. 2024: by the mean of
 * their absolute values). All become TQ2_0 blocks where rows are whole blocks, else BF16. The
 * number is the blocks' scale where f16 holds it, else struct model_param's. Masters stay in their
 * file, for whoever trains them.
 */
#ifndef WORKER_ENGINE_NN_MODEL_TERNARY_H
#define WORKER_ENGINE_NN_MODEL_TERNARY_H

#include "worker/engine/nn/model_state.h"

/* Whether the parameter is such a weight by family and config. */
bool model_ternary_is(const struct model *model, const struct model_param *p);

/* Takes the data of the parameter from `weight`; `scale`, the tensor named weight_scale, may be
 * NULL where the config says that the weights are masters. ERR_SHAPE, ERR_NOT_FOUND,
 * ERR_UNSUPPORTED, ERR_FORMAT: `et` names the tensor. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err model_ternary_take(struct model *model, struct model_param *p,
                                       const struct safetensor *weight,
                                       const struct safetensor *scale, struct err_text *et);

#endif
