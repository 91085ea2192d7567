/* convert_plan_hf.c - from a GGUF file's tensors to those of a model folder. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_plan.h"

enum { BATCH = 1024 };

struct planning {
    const struct gguf *gguf;
    const struct hf_config *config;
    const struct gguf_arch *arch;
    enum block_format format; /* of matrices, where it is not kept */
    enum block_format main;   /* of most */
    convert_decode_f decode;
    struct arena *arena;
    struct convert_plan *plan;
    struct err_text *et;
};

/* Whether the result of `t`, which is a vector, fits `format` without rounding. */
static bool is_held(const struct convert_tensor *t, enum block_format format)
{
    float values[BATCH];
    size_t count = t->rows * t->columns;
    size_t size = block_format_bytes(t->in);
    for (size_t at = 0; at < count; at += BATCH) {
        size_t batch = MIN(count - at, (size_t)BATCH);
        convert_float_decode(t->in, batch, t->data.data + at * size, values);
        for (size_t i = 0; i < batch && t->change == CONVERT_CHANGE_ADD; i++)
            values[i] += t->addend;
        if (!convert_float_holds(format, batch, values))
            return false;
    }
    return true;
}

static enum err wrong_shape(const struct planning *p, const struct gguf_tensor *from,
                            const char *expected)
{
    return error_set(p->et, ERR_SHAPE,
                     "%s: tensor %.*s: expected %s, found rank %u with %" PRIu64 " rows",
                     p->gguf->name, TEXT_ARGS(from->name), expected, from->rank,
                     from->rank > 0 ? from->shape[0] : 0);
}

static enum err set_order(const struct planning *p, const struct gguf_tensor *from,
                          struct convert_tensor *t)
{
    enum convert_role role = t->place.role;
    if (!convert_plan_order_rows(p->config, p->arch, t))
        return wrong_shape(p, from, "rows of whole heads");
    if (t->order != CONVERT_ORDER_SAME && from->rank == 1 && !convert_float_is_plain(t->in))
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: tensor %.*s: a vector in %s blocks cannot be put in order",
                         p->gguf->name, TEXT_ARGS(from->name), block_format_name(t->in));
    if (t->order == CONVERT_ORDER_PAIRS)
        t->order = CONVERT_ORDER_HALVES;
    if (t->order == CONVERT_ORDER_SPLIT)
        t->order = CONVERT_ORDER_GROUPS;
    if (strcmp(p->arch->name, "gpt2") == 0 && convert_name_kind(role) == CONVERT_LINEAR &&
        role != CONVERT_HEAD && from->rank == 2) {
        if (!convert_float_is_plain(t->in))
            return error_set(p->et, ERR_UNSUPPORTED,
                             "%s: tensor %.*s: a matrix in %s blocks cannot be turned",
                             p->gguf->name, TEXT_ARGS(from->name), block_format_name(t->in));
        t->order = CONVERT_ORDER_TURNED;
        t->rows = t->shape[0] = from->shape[1];
        t->columns = t->shape[1] = from->shape[0];
    }
    return ERR_OK;
}

/* A matrix of BitNet goes out as codes with a scale beside it: a plain one would be made ternary
 * once more, with another scale. */
static enum err pack_ternary(struct planning *p, const struct gguf_tensor *from,
                             struct convert_tensor *t)
{
    if (!convert_float_is_plain(t->in))
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: tensor %.*s: expected F32, F16 or BF16 in a model of ternary "
                         "weights, found %s",
                         p->gguf->name, TEXT_ARGS(from->name), block_format_name(t->in));
    struct convert_range range = convert_tensor_range(t->data, t->in);
    if (!range.is_ternary || t->rows % CONVERT_CODES_A_BYTE != 0)
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: tensor %.*s: expected ternary weights in rows by the four",
                         p->gguf->name, TEXT_ARGS(from->name));
    float *scale = arena_alloc(p->arena, 1, sizeof *scale);
    if (scale == NULL)
        return error_set(p->et, ERR_OUT_OF_MEMORY, "%s: out of memory", p->gguf->name);
    *scale = range.max;
    t->change = CONVERT_CHANGE_PACK;
    t->scale = range.max;
    t->out = BLOCK_FORMAT_COUNT;
    t->rows = t->shape[0] = from->shape[0] / CONVERT_CODES_A_BYTE;
    struct convert_tensor *beside = &p->plan->tensors[p->plan->count++];
    *beside = (struct convert_tensor){
        .place = t->place,
        .is_made = true,
        .rank = 1,
        .shape = {1},
        .rows = 1,
        .columns = 1,
        .data = {(const uint8_t *)scale, sizeof *scale},
        .in = BLOCK_FORMAT_F32,
        .out = convert_float_holds(p->main, 1, scale) ? p->main : BLOCK_FORMAT_F32,
    };
    (void)snprintf(beside->name, sizeof beside->name, "%.*s_scale", (int)strlen(t->name), t->name);
    return ERR_OK;
}

static enum err plan_tensor(struct planning *p, const struct gguf_tensor *from,
                            struct convert_tensor *t)
{
    enum convert_role role = t->place.role;
    if ((from->rank != 1 && from->rank != 2) || gguf_element_count(from) == 0)
        return wrong_shape(p, from, "a vector or a matrix with elements");
    t->in = from->format;
    t->decode = p->decode;
    if (!convert_float_is_plain(t->in) && p->decode == NULL)
        return error_set(p->et, ERR_UNSUPPORTED,
                         "%s: tensor %.*s: expected F32, F16 or BF16, found %s", p->gguf->name,
                         TEXT_ARGS(from->name), block_format_name(t->in));
    t->rank = from->rank;
    t->shape[0] = t->rows = from->shape[0];
    t->shape[1] = t->columns = from->rank == 2 ? from->shape[1] : 1;
    t->data = from->data;
    TRY(set_order(p, from, t));
    if (convert_name_kind(role) == CONVERT_GAIN && !t->place.is_bias &&
        (p->arch->flags & GGUF_ARCH_PLUS_ONE) != 0) {
        t->change = CONVERT_CHANGE_ADD;
        t->addend = -1.0f;
    }
    if (from->rank == 1 && t->order == CONVERT_ORDER_SAME) { /* one row of it */
        t->columns = t->rows;
        t->rows = 1;
    }
    bool is_f32 = t->in == BLOCK_FORMAT_F32;
    if (from->rank == 1 || role == CONVERT_POSITION)
        t->out = !is_f32 || is_held(t, p->main) ? p->main : BLOCK_FORMAT_F32;
    else if (p->format != CONVERT_PLAN_KEEP)
        t->out = p->format;
    else
        t->out = convert_float_is_plain(t->in) ? t->in : p->main;
    if (strcmp(p->arch->model_type, "bitnet") == 0 && from->rank == 2 &&
        convert_name_kind(role) == CONVERT_LINEAR && role != CONVERT_HEAD)
        return pack_ternary(p, from, t);
    return ERR_OK;
}

/* What most weights will be in. */
static enum block_format main_format(const struct planning *p)
{
    if (p->format != CONVERT_PLAN_KEEP)
        return p->format;
    for (size_t i = 0; i < p->gguf->tensor_count; i++) {
        const struct gguf_tensor *t = &p->gguf->tensors[i];
        struct convert_place place;
        if (!convert_plan_is_factors(t) && t->rank == 2 && convert_float_is_plain(t->format) &&
            convert_name_of_gguf(p->plan->family, t->name, &place) &&
            convert_name_kind(place.role) == CONVERT_LINEAR)
            return t->format;
    }
    return BLOCK_FORMAT_F16;
}

static enum err plan_tensors(struct planning *p)
{
    for (size_t i = 0; i < p->gguf->tensor_count; i++) {
        const struct gguf_tensor *from = &p->gguf->tensors[i];
        struct convert_place place;
        if (convert_plan_is_factors(from) ||
            !convert_name_of_gguf(p->plan->family, from->name, &place))
            continue;
        struct convert_tensor *t = &p->plan->tensors[p->plan->count++];
        *t = (struct convert_tensor){.place = place};
        convert_name_print_hf(p->plan->family, place, t->name);
        TRY(plan_tensor(p, from, t));
    }
    return ERR_OK;
}

enum err convert_plan_hf(const struct gguf *gguf, const struct hf_config *config,
                         enum block_format format, convert_decode_f decode, struct arena *arena,
                         struct convert_plan *plan, enum block_format *main, struct err_text *et)
{
    struct convert_plan made = {0};
    struct planning p = {.gguf = gguf,
                         .config = config,
                         .format = format,
                         .decode = decode,
                         .arena = arena,
                         .plan = &made,
                         .et = et};
    TRY(gguf_arch_of_config(config, gguf->name, &p.arch, et));
    made.tensors = arena_alloc(arena, gguf->tensor_count * 2 + 1, sizeof *made.tensors);
    if (made.tensors == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", gguf->name);
    TRY(convert_plan_family(gguf, p.arch, &made.family, et));
    p.main = main_format(&p);
    TRY(plan_tensors(&p));
    TRY(convert_plan_finish(&made, config->num_hidden_layers, gguf->name, et));
    *plan = made;
    *main = p.main;
    return ERR_OK;
}
