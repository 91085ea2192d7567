/* convert_mix.h - which format each tensor of a quantized file gets: the rules behind the names
 * "Q4_K_M", "Q2_K", ...
 *
 * A function of the mix, the tensor's place and width, and a few facts of the model; nothing is
 * read and no order is kept, so that every caller gets the same answer.
 *
 * Source: llama.cpp src/llama-quant.cpp, llama_tensor_get_type (February 2025).
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_MIX_H
#define COMMON_FORMATS_CONVERT_CONVERT_MIX_H

#include "common/formats/convert/convert_name.h"
#include "common/formats/gguf/block_format.h"

/* No format: the choice is the mix's. */
#define CONVERT_MIX_ANY BLOCK_FORMAT_COUNT

/* A row of the table; static. */
struct convert_mix;

/* NULL when there is none; upper and lower case are one. */
const struct convert_mix *convert_mix_named(const char *name);

/* "Q4_0, Q4_1, ...", cut to fit: for messages. */
void convert_mix_choices(char *out, size_t out_bytes);

const char *convert_mix_name(const struct convert_mix *mix);

/* general.file_type. */
uint32_t convert_mix_file_type(const struct convert_mix *mix);

/* The mix that a file is said to be of when most of its weights are in a format and no rule chose
 * it: its general.file_type is what llama.cpp guesses. NULL for plain formats. */
const struct convert_mix *convert_mix_of_format(enum block_format format);

/* The format of most tensors. */
enum block_format convert_mix_format(const struct convert_mix *mix);

/* Whether the mix is of use only with an importance matrix. */
bool convert_mix_needs_importance(const struct convert_mix *mix);

struct convert_mix_model {
    const char *architecture; /* general.architecture */
    uint32_t layers;
    uint32_t heads;
    uint32_t kv_heads;
    bool has_head; /* an output matrix of its own, not the embedding */
    bool has_importance;
};

/* llama-quantize's switches. */
struct convert_mix_switches {
    bool pure;                   /* all matrices the mix's format */
    bool leave_head;             /* the output matrix stays as it is */
    enum block_format head;      /* CONVERT_MIX_ANY, or the output matrix's */
    enum block_format embedding; /* CONVERT_MIX_ANY, or the embedding's */
};

/* Whether a tensor of that place and rank takes part: matrices, but no positions. */
bool convert_mix_takes(struct convert_place place, uint32_t rank,
                       const struct convert_mix_switches *switches);

/* The format of a tensor that takes part, `columns` wide. A format whose blocks do not divide the
 * width is replaced as convert_mix_fallback says. */
enum block_format convert_mix_choose(const struct convert_mix *mix,
                                     const struct convert_mix_model *model,
                                     const struct convert_mix_switches *switches,
                                     struct convert_place place, uint64_t columns);

/* Whether a switch names the tensor's format: then no rule is asked. */
bool convert_mix_is_given(const struct convert_mix_model *model,
                          const struct convert_mix_switches *switches, struct convert_place place);

/* `format`, or what takes its place for rows of `columns`: a format of blocks of 32, then F16. */
enum block_format convert_mix_fallback(enum block_format format, uint64_t columns);

/* What a matrix `columns` wide may be made of, the fewest bits first, none twice: the formats of a
 * search for a mix. Widths that blocks of 256 do not divide have those of 32; what nothing divides
 * has F16 alone. Returns how many. */
enum { CONVERT_MIX_CANDIDATES_MAX = 8 };
size_t convert_mix_candidates(uint64_t columns, enum block_format out[CONVERT_MIX_CANDIDATES_MAX]);

#endif
