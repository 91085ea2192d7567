/* convert_plan_gguf.c - from a model folder's tensors to GGUF's. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_plan.h"

#define SCALE_ENDING ".weight_scale"

/* Tensors made from the config, at most: long and short factors. */
enum { MADE_MAX = 2 };

#define TERNARY_SCALE_MIN 1e-5

struct planning {
    const struct hf_config *config;
    const struct gguf_arch *arch;
    const char *name;
    const struct safetensors *weights;
    enum block_format format;
    struct arena *arena;
    struct convert_plan *plan;
    struct err_text *et;
};

static bool ends_in(struct text name, const char *end)
{
    size_t size = strlen(end);
    return name.size >= size && memcmp(name.data + name.size - size, end, size) == 0;
}

static bool starts_with(struct text name, const char *start)
{
    size_t size = strlen(start);
    return name.size >= size && memcmp(name.data, start, size) == 0;
}

/* Buffers that old checkpoints hold beside their weights (masks, frequencies), and the eyes of a
 * model whose language we take. */
static bool is_left_out(const struct safetensor *st)
{
    static const char *const starts[] = {"vision_tower.", "multi_modal_projector.",
                                         "model.vision_tower.", "model.multi_modal_projector."};
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        if (starts_with(st->name, starts[i]))
            return true;
    }
    static const char *const ends[] = {".rotary_emb.inv_freq", ".attn.masked_bias",
                                       ".attention.masked_bias", SCALE_ENDING};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        if (ends_in(st->name, ends[i]))
            return true;
    }
    return st->rank == 4 &&
           (ends_in(st->name, ".attn.bias") || ends_in(st->name, ".attention.bias"));
}

/* The first family that has a place for all tensors. */
static enum err choose_family(struct planning *p)
{
    const char *unknown = NULL;
    const struct convert_family *family;
    for (size_t i = 0; (family = convert_name_family(p->arch, i)) != NULL; i++) {
        struct convert_place place;
        bool fits = true;
        for (size_t k = 0; k < p->weights->count && fits; k++) {
            const struct safetensor *st = &p->weights->tensors[k];
            fits = is_left_out(st) || (convert_name_of_hf(family, st->name, &place) &&
                                       !convert_name_is_part(family, place.role));
            if (!fits)
                unknown = st->name.data;
        }
        if (fits) {
            p->plan->family = family;
            return ERR_OK;
        }
    }
    return error_set(p->et, ERR_UNSUPPORTED, "%s: tensor %s: models of architecture %s have none",
                     p->name, unknown != NULL ? unknown : "names", p->arch->name);
}

static enum err wrong_shape(const struct planning *p, const struct safetensor *st,
                            const char *expected)
{
    return error_set(p->et, ERR_SHAPE,
                     "%s: tensor %s: expected %s, found rank %u with %" PRIu64 " rows", p->name,
                     st->name.data, expected, st->rank, st->rank > 0 ? st->shape[0] : 0);
}

static enum err set_order(const struct planning *p, const struct safetensor *st,
                          struct convert_tensor *t)
{
    enum convert_role role = t->place.role;
    if (!convert_plan_order_rows(p->config, p->arch, t))
        return wrong_shape(p, st, "rows of whole heads");
    if (strcmp(p->arch->name, "gpt2") == 0 && convert_name_kind(role) == CONVERT_LINEAR &&
        role != CONVERT_HEAD && st->rank == 2) {
        t->order = CONVERT_ORDER_TURNED;
        t->rows = t->shape[0] = st->shape[1];
        t->columns = t->shape[1] = st->shape[0];
    }
    return ERR_OK;
}

/* Weights of a trained BitNet are made ternary, as its layers do on each use: x -> clip(round(x /
 * s), -1, 1) * s with s = mean |x|. */
static enum err set_rounded(const struct planning *p, const struct safetensor *st,
                            struct convert_tensor *t)
{
    struct convert_range range = convert_tensor_range(st->data, t->in);
    double mean = range.sum / (double)MAX(t->rows * t->columns, 1u);
    if (!(mean - mean == 0.0))
        return error_set(p->et, ERR_FORMAT, "%s: tensor %s: a weight is not finite", p->name,
                         st->name.data);
    t->change = CONVERT_CHANGE_TERNARY;
    t->scale = (float)(mean > TERNARY_SCALE_MIN ? mean : TERNARY_SCALE_MIN);
    return ERR_OK;
}

static enum err read_scale(const struct planning *p, const struct safetensor *st, float *out)
{
    char name[CONVERT_NAME_BYTES];
    enum block_format format;
    (void)snprintf(name, sizeof name, "%.*s" SCALE_ENDING,
                   (int)(st->name.size - (sizeof ".weight" - 1)), st->name.data);
    const struct safetensor *scale = safetensors_find(p->weights, text_of(name));
    if (scale == NULL || safetensors_element_count(scale) != 1 ||
        !convert_float_format_of(scale->dtype, &format))
        return error_set(p->et, ERR_FORMAT, "%s: tensor %s: expected one number in %s", p->name,
                         st->name.data, name);
    convert_float_decode(format, 1, scale->data.data, out);
    if (strcmp(p->config->quant_linear_class, "autobitlinear") != 0)
        *out = 1.0f / *out; /* layers of class bitlinear, which is the default, divide by it */
    if (!(*out > 0.0f && *out < 1e9f))
        return error_set(p->et, ERR_FORMAT, "%s: tensor %s: expected a number above 0", p->name,
                         name);
    return ERR_OK;
}

/* Whether no code is the fourth one. */
static bool all_ternary(struct span codes)
{
    unsigned fourth = 0;
    for (size_t i = 0; i < codes.size; i++)
        fourth |= codes.data[i] & codes.data[i] >> 1 & 0x55u;
    return fourth == 0;
}

/* BitNet: weights that are rounded here, or ternary numbers, packed or not, beside their scale. */
static enum err set_ternary(const struct planning *p, const struct safetensor *st,
                            struct convert_tensor *t)
{
    bool is_packed = t->in == BLOCK_FORMAT_COUNT;
    if (!p->config->quantized)
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: config.json has no quantization_config, so its layers are plain; "
                         "those of GGUF's bitnet are ternary",
                         p->name);
    bool is_rounded = strcmp(p->config->quant_mode, "online") != 0;
    if (!is_packed && !is_rounded)
        return set_rounded(p, st, t);
    TRY(read_scale(p, st, &t->scale));
    bool good = true;
    if (is_packed) {
        good = all_ternary(st->data);
        t->change = CONVERT_CHANGE_UNPACK;
        t->rows = t->shape[0] = st->shape[0] * CONVERT_CODES_A_BYTE;
    } else {
        struct convert_range range = convert_tensor_range(st->data, t->in);
        good = range.is_ternary && (range.max == 0.0f || range.max == 1.0f);
        t->change = CONVERT_CHANGE_SCALE;
    }
    if (!good)
        return error_set(p->et, ERR_FORMAT, "%s: tensor %s: a %snumber is not ternary", p->name,
                         st->name.data, is_packed ? "packed " : "");
    return ERR_OK;
}

static enum err plan_tensor(const struct planning *p, const struct safetensor *st,
                            struct convert_tensor *t)
{
    enum convert_role role = t->place.role;
    bool is_bitnet = strcmp(p->arch->model_type, "bitnet") == 0 ||
                     strcmp(p->config->quant_method, "bitnet") == 0;
    bool is_ternary = is_bitnet && st->rank == 2 && convert_name_kind(role) == CONVERT_LINEAR &&
                      role != CONVERT_HEAD;
    bool is_packed = is_ternary && st->dtype == SAFETENSORS_U8;
    if (is_packed)
        t->in = BLOCK_FORMAT_COUNT;
    else if (!convert_float_format_of(st->dtype, &t->in))
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: tensor %s: expected F32, F16 or BF16, found %s", p->name,
                         st->name.data, safetensors_dtype_name(st->dtype));
    if ((st->rank != 1 && st->rank != 2) || safetensors_element_count(st) == 0)
        return wrong_shape(p, st, "a vector or a matrix with elements");
    t->rank = st->rank;
    t->shape[0] = t->rows = st->shape[0];
    t->shape[1] = t->columns = st->rank == 2 ? st->shape[1] : 1;
    t->data = st->data;
    TRY(set_order(p, st, t));
    if (is_ternary)
        TRY(set_ternary(p, st, t));
    if (convert_name_kind(role) == CONVERT_GAIN && !t->place.is_bias &&
        (p->arch->flags & GGUF_ARCH_PLUS_ONE) != 0) {
        t->change = CONVERT_CHANGE_ADD;
        t->addend = 1.0f;
    }
    t->out = p->format != CONVERT_PLAN_KEEP ? p->format : t->in;
    if (is_ternary && p->format == CONVERT_PLAN_KEEP) /* one number, and it shall not be rounded */
        t->out = convert_float_holds(BLOCK_FORMAT_BF16, 1, &t->scale) ? BLOCK_FORMAT_BF16
                                                                      : BLOCK_FORMAT_F32;
    if (st->rank == 1 || role == CONVERT_POSITION)
        t->out = BLOCK_FORMAT_F32;
    if (st->rank == 1 && t->order == CONVERT_ORDER_SAME) { /* one row of it */
        t->columns = t->rows;
        t->rows = 1;
    }
    return ERR_OK;
}

/* Whether the tied head is to be left out, or to stand for a missing embedding. */
static bool plays_role(const struct planning *p, struct convert_place *place, bool has_embedding)
{
    if (place->role != CONVERT_HEAD || place->is_bias || !p->config->tie_word_embeddings)
        return true;
    if (!has_embedding)
        place->role = CONVERT_EMBEDDING;
    return !has_embedding;
}

static enum err plan_weights(struct planning *p)
{
    bool has_embedding = false;
    struct convert_place place;
    for (size_t i = 0; i < p->weights->count; i++) {
        const struct safetensor *st = &p->weights->tensors[i];
        has_embedding = has_embedding || (!is_left_out(st) &&
                                          convert_name_of_hf(p->plan->family, st->name, &place) &&
                                          place.role == CONVERT_EMBEDDING);
    }
    for (size_t i = 0; i < p->weights->count; i++) {
        const struct safetensor *st = &p->weights->tensors[i];
        struct convert_tensor *t = &p->plan->tensors[p->plan->count];
        if (is_left_out(st) || !convert_name_of_hf(p->plan->family, st->name, &place) ||
            !plays_role(p, &place, has_embedding))
            continue;
        *t = (struct convert_tensor){.place = place};
        convert_name_print_gguf(p->plan->family, place, t->name);
        TRY(plan_tensor(p, st, t));
        p->plan->count++;
    }
    return ERR_OK;
}

static enum err make_factors(struct planning *p, const char *name, const double *factors,
                             size_t count)
{
    float *values = arena_alloc(p->arena, count, sizeof *values);
    if (values == NULL)
        return error_set(p->et, ERR_OUT_OF_MEMORY, "%s: out of memory", p->name);
    if (factors == NULL)
        gguf_config_rope_freqs(p->config, values, count);
    for (size_t i = 0; factors != NULL && i < count; i++)
        values[i] = (float)factors[i];
    struct convert_tensor *t = &p->plan->tensors[p->plan->count++];
    *t = (struct convert_tensor){
        .place = {.role = CONVERT_ROLE_COUNT},
        .is_made = true,
        .rank = 1,
        .shape = {count},
        .rows = 1,
        .columns = count,
        .data = {(const uint8_t *)values, count * sizeof *values},
        .in = BLOCK_FORMAT_F32,
        .out = BLOCK_FORMAT_F32,
    };
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    return ERR_OK;
}

static enum err make_tensors(struct planning *p)
{
    const struct hf_config_rope *rope = &p->config->rope;
    if (strcmp(rope->type, "llama3") == 0)
        return make_factors(p, GGUF_CONFIG_ROPE_FREQS, NULL, p->config->head_dim / 2);
    if (rope->factor_count == 0)
        return ERR_OK;
    TRY(make_factors(p, GGUF_CONFIG_ROPE_LONG, rope->long_factors, rope->factor_count));
    return make_factors(p, GGUF_CONFIG_ROPE_SHORT, rope->short_factors, rope->factor_count);
}

enum err convert_plan_gguf(const struct hf_config *config, const char *name,
                           const struct safetensors *weights, enum block_format format,
                           struct arena *arena, struct convert_plan *plan, struct err_text *et)
{
    struct convert_plan made = {0};
    struct planning p = {.config = config,
                         .name = name,
                         .weights = weights,
                         .format = format,
                         .arena = arena,
                         .plan = &made,
                         .et = et};
    TRY(gguf_arch_of_config(config, name, &p.arch, et));
    if (config->quant_method[0] != '\0' && strcmp(config->quant_method, "bitnet") != 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: the model is quantized (quant_method %s); convert the model before",
                         name, config->quant_method);
    made.tensors = arena_alloc(arena, weights->count + MADE_MAX, sizeof *made.tensors);
    if (made.tensors == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", name);
    TRY(choose_family(&p));
    TRY(plan_weights(&p));
    bool has_head = false;
    for (size_t i = 0; i < made.count; i++)
        has_head = has_head || made.tensors[i].place.role == CONVERT_HEAD;
    if (!has_head && !config->tie_word_embeddings)
        return error_set(et, ERR_FORMAT,
                         "%s: expected a head, which config.json does not tie to the embedding",
                         name);
    TRY(make_tensors(&p));
    TRY(convert_plan_finish(&made, config->num_hidden_layers, name, et));
    *plan = made;
    return ERR_OK;
}
