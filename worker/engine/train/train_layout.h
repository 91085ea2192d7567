/* train_layout.h - the flat vector of everything that trains: names, shapes, offsets, first values.
 *
 * Entries are sorted by name in byte order, without gaps: the vector is the data section of the
 * safetensors file that holds it. Names are those of PEFT for adapters
 * (base_model.model.<module>.lora_A.weight) and of the model's files for full training.
 *
 * Refuses to know: optimizers, rounds, files.
 */
#ifndef WORKER_ENGINE_TRAIN_TRAIN_LAYOUT_H
#define WORKER_ENGINE_TRAIN_TRAIN_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "worker/engine/nn/binding.h"
#include "worker/engine/nn/model.h"

enum train_method {
    TRAIN_METHOD_LORA,
    TRAIN_METHOD_FULL,
    TRAIN_METHOD_HOULSBY,  /* a bottleneck behind attention and one behind the mlp */
    TRAIN_METHOD_PFEIFFER, /* one behind the layer */
    TRAIN_METHOD_PARALLEL, /* one beside the mlp */
    TRAIN_METHOD_PROMPT,   /* vectors before every sample */
};

enum train_prompt {
    TRAIN_PROMPT_VOCABULARY, /* starts as the embeddings of tokens drawn from the vocabulary */
    TRAIN_PROMPT_TEXT,       /* as those of a text's tokens, over and over */
    TRAIN_PROMPT_RANDOM,     /* normal, with the deviation of the config's first values */
};

/* Where the matrices of adapters start (train_layout_values knows the first alone). */
enum train_init {
    TRAIN_INIT_DEFAULT,  /* A Kaiming-uniform, B zero */
    TRAIN_INIT_GAUSSIAN, /* A normal(0, 1 / rank), B zero */
    TRAIN_INIT_PISSA,    /* the largest singular values of W, which stays as it is: an anchor */
    TRAIN_INIT_LOFTQ,    /* those of what quantizing took from W */
};

struct train_config {
    enum train_method method;
    /* Read for LoRA alone, as far as is not said otherwise. */
    size_t rank;
    double alpha;
    double dropout;       /* [0, 1) */
    bool rank_stabilized; /* scale = alpha / sqrt(rank) instead of alpha / rank */
    bool dora;            /* each output row has a trained magnitude (Liu et al. 2024) */
    enum train_init init;
    /* "module=number", the module by name or by suffix after a dot: what it has instead of rank and
     * of alpha. The first that fits counts, as in PEFT. */
    const char *const *rank_patterns;
    size_t rank_pattern_count;
    const char *const *alpha_patterns;
    size_t alpha_pattern_count;
    const char *const *saved; /* modules that train as a whole (modules_to_save), named likewise */
    size_t saved_count;
    const char *const *targets; /* modules by name or by suffix after a dot ("q_proj",
                                   "layers.3.mlp.up_proj"); "all-linear": every one but the head */
    size_t target_count;        /* 0: the family's usual choice */
    /* Bottlenecks alone: their width is the model's divided by `reduction`, 1 at least. */
    size_t reduction;
    enum kernel_act act;
    double scaling;
    /* Prompts alone. */
    size_t prompt_count;
    enum train_prompt prompt;
};

/* The parameter itself, or a matrix of its adapter; of a bottleneck in the parameter's layer; a
 * prompt. */
enum train_part {
    TRAIN_PART_WHOLE,
    TRAIN_PART_A,
    TRAIN_PART_B,
    TRAIN_PART_MAGNITUDE, /* of DoRA: (rows) */
    TRAIN_PART_LOOKUP_A,  /* of an embedding's lookup: (rank, vocabulary) */
    TRAIN_PART_LOOKUP_B,  /* (width, rank) */
    TRAIN_PART_DOWN,
    TRAIN_PART_DOWN_BIAS,
    TRAIN_PART_UP,
    TRAIN_PART_UP_BIAS,
    TRAIN_PART_PROMPT,
};

struct train_entry {
    size_t param; /* of the model */
    enum train_part part;
    enum binding_place place; /* of a bottleneck's */
    const char *name;
    size_t dimensions; /* 1 or 2 */
    size_t shape[2];
    size_t offset; /* f32 elements from the start of the vector */
    size_t count;  /* elements */
};

enum train_place {
    TRAIN_PLACE_LINEAR, /* of a layer, or the head */
    TRAIN_PLACE_LOOKUP, /* of the embedding's rows */
    TRAIN_PLACE_OTHER,  /* a norm, a table of positions */
};

/* What the family's folders call a module: a parameter's name without ".weight". A parameter may be
 * two modules: the embedding of a tied model is the head too, under the head's name. */
struct train_module {
    size_t param;
    struct text name; /* "model.layers.0.self_attn.q_proj" */
    enum train_place place;
    bool adapted, saved; /* has an adapter; trains as a whole */
    size_t rank;         /* of its adapter */
    double alpha;        /* the same; it is scaled by alpha / rank or alpha / sqrt(rank) */
};

struct train_layout;

/* Resolves names against the modules of the model. Caller owns *out; the model is borrowed and must
 * outlive it. ERR_RECIPE: a name matches no module, rank 0 or above a module's width, dropout
 * outside [0, 1), a module both adapted and saved, half of a tied pair, or what cannot train in the
 * form it lies in; `et` names the key and the modules there are. */
MUST_CHECK enum err train_layout_create(const struct model *model,
                                        const struct train_config *config,
                                        struct train_layout **out, struct err_text *et);
void train_layout_destroy(struct train_layout **layout);

/* Elements of the vector; entries in its order. Borrowed until destroy. */
size_t train_layout_count(const struct train_layout *layout);
size_t train_layout_entry_count(const struct train_layout *layout);
const struct train_entry *train_layout_entry(const struct train_layout *layout, size_t index);

/* The model it was made for. Borrowed. */
const struct model *train_layout_model(const struct train_layout *layout);

/* What the engine's calls take. Borrowed until destroy. */
const struct binding *train_layout_binding(const struct train_layout *layout);

/* The modules of the model in its order, with what LoRA's recipe chose; none for full training.
 * Borrowed until destroy. */
const struct train_module *train_layout_modules(const struct train_layout *layout, size_t *count);

/* First values: A uniform(-1/sqrt(in), 1/sqrt(in)) (Kaiming-uniform with a = sqrt(5)), B zero; of a
 * lookup A zero, B normal(0, 1); what trains as a whole starts from the model's weights; magnitudes
 * are 0 until they can be measured. A function of (seed, name, position) alone. `values` holds
 * train_layout_count elements. */
void train_layout_values(const struct train_layout *layout, uint64_t seed, float *values);

/* Measures the magnitudes, where there are any: the norms of the rows of W + s B A under the values
 * at hand, less the same of an anchor (or NULL). Adapters then start as what they would be without
 * magnitudes. `values` and `anchor` are memory of the kernel. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err train_layout_magnitudes(const struct train_layout *layout,
                                            struct kernel *kernel, const float *anchor,
                                            float *values);

#endif
