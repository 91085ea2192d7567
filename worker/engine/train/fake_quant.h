/* fake_quant.h - training that knows the quantizer: weights become codes before they are used.
 *
 * Once a round every weight that will be quantized is encoded from what trains: the weight itself,
 * or W + scale B A where an adapter trains. Products then read the codes through the tile decoder,
 * as they read those of any quantized file. So the fake quantizer is the real encoder and decoder,
 * a base under adapters takes the memory of its codes, and who exports writes these very codes.
 *
 *   form      a weight becomes                                  its gradient
 *   BLOCKS    blocks of a GGUF type, by the plain encoder       passes
 *   GRID      codes of an integer grid (quant/grid.h)           passes, but 0 where a value lies
 *                                                               beyond the grid's ends
 *   TERNARY   -1, 0, 1 times the mean of |W|, which is rounded  passes (Ma et al. 2024)
 *             to f16 first: TQ2_0 blocks, or F16
 *
 * Through adapters the gradient passes everywhere: what a mask would cost is a product of W's size.
 * TERNARY may warm up: W + part (q(W) - W), and the same of rounded inputs, with a part that grows
 * from 0 to 1; these are f32.
 *
 * All of it is a function of values and round alone, whatever the threads and instruction set.
 * Refuses to know: recipes, files, the optimizer.
 */
#ifndef WORKER_ENGINE_TRAIN_FAKE_QUANT_H
#define WORKER_ENGINE_TRAIN_FAKE_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/pass.h"
#include "worker/engine/quant/grid.h"
#include "worker/engine/train/train_layout.h"

struct kernel;
struct fake_quant;

enum fake_quant_form { FAKE_QUANT_BLOCKS, FAKE_QUANT_GRID, FAKE_QUANT_TERNARY };

/* Beyond every round: quantized in full, whatever first_round and warmup_rounds say. */
#define FAKE_QUANT_FINAL UINT64_MAX

struct fake_quant_config {
    enum fake_quant_form form;
    enum dtype dtype;            /* BLOCKS: a type of files that has blocks */
    struct grid_scheme grid;     /* GRID: MINMAX, CHANNEL or GROUP */
    enum pass_rounding rounding; /* of the inputs of linear modules in the layers, each token's own
                                    scale */
    bool embedding;              /* embedding and head too; only weights, not the head's input */
    uint64_t first_round;        /* rounds before it see weights and inputs as they are */
    uint64_t warmup_rounds;      /* TERNARY: the part of round r is (r - first_round) / this */
};

/* Linear modules of the layers, with `embedding` also embedding and head. All borrowed, and must
 * outlive *out; caller owns *out. Errors of fake_quant_check
 * (fake_quant_check.h); ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err fake_quant_create(const struct model *model, struct kernel *kernel,
                                      const struct train_layout *layout,
                                      const struct fake_quant_config *config,
                                      struct fake_quant **out, struct err_text *et);
void fake_quant_destroy(struct fake_quant **fake_quant);

/* How much of the rounding a round sees: 0 none, 1 all, between them while weights warm up. */
float fake_quant_part(const struct fake_quant_config *config, uint64_t round);

/* Encodes from the layout's vector for a round, or for FAKE_QUANT_FINAL. Frozen weights are encoded
 * once. ERR_NOT_FINITE: `et` names the tensor whose values are not finite; ERR_OUT_OF_MEMORY. After
 * an error the next update encodes anew. */
MUST_CHECK enum err fake_quant_update(struct fake_quant *fake_quant, const float *values,
                                      uint64_t round, struct err_text *et);

/* For struct pass: a weight for each parameter of the model, data NULL where the parameter is read
 * as ever; NULL before the first update and where the round sees no quantization. Borrowed until
 * the next update. */
const struct pass_weight *fake_quant_weights(const struct fake_quant *fake_quant);

/* Of one parameter, data NULL when it is not quantized. Codes are rows of (out, in) in the order of
 * the family's folders, whatever the model's file does. */
struct pass_weight fake_quant_find(const struct fake_quant *fake_quant, size_t param);

/* GRID: the cells of the parameter, NULL when it has none: for who writes them. */
const struct grid *fake_quant_cells(const struct fake_quant *fake_quant, size_t param);

/* TERNARY: what the parameter's -1, 0 and 1 are multiplied by, a number of f16; 0 when it has none.
 */
float fake_quant_scale(const struct fake_quant *fake_quant, size_t param);

/* Sets to 0 what the forms keep from the gradient, a vector of the layout. */
void fake_quant_mask(const struct fake_quant *fake_quant, float *gradient);

/* Bytes held for codes, scales and masks. */
size_t fake_quant_size_bytes(const struct fake_quant *fake_quant);

/* The most that it will hold, before there is one; errors that fake_quant_check finds aside. */
size_t fake_quant_estimate(const struct model *model, const struct train_layout *layout,
                           const struct fake_quant_config *config);

#endif
