/* aggregate_state.c - training state from and to its file. */
#include "coordinator/aggregate/aggregate_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/mem.h"
#include "schemas/state_file.def"

enum {
    ARENA_BYTES_MAX = 256 << 20,
    LEDGER_BYTES_MAX = 256 << 20,
    STEP_DIGITS = 24,
    NAME_BYTES_MAX = 1024
};

static const struct text prefix_weight = {STATE_FILE_WEIGHT, sizeof STATE_FILE_WEIGHT - 1};
static const struct text prefix_exp_avg = {STATE_FILE_EXP_AVG, sizeof STATE_FILE_EXP_AVG - 1};
static const struct text prefix_exp_avg_sq = {STATE_FILE_EXP_AVG_SQ,
                                              sizeof STATE_FILE_EXP_AVG_SQ - 1};

static bool has_prefix(struct text text, struct text prefix)
{
    return text.size > prefix.size && memcmp(text.data, prefix.data, prefix.size) == 0;
}

/* Decimal digits, at most 18 of them. */
static enum err parse_step(struct text text, uint64_t *step)
{
    uint64_t value = 0;
    if (text.data == NULL || text.size == 0 || text.size > 18)
        return ERR_FORMAT;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return ERR_FORMAT;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *step = value;
    return ERR_OK;
}

/* Takes in the weights' names and shapes; tensors of the file are sorted by name, so are ours. */
static enum err list_parameters(struct aggregate *a, const struct safetensors *st,
                                struct err_text *et)
{
    a->parameters = arena_alloc(&a->arena, st->count, sizeof *a->parameters);
    if (a->parameters == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "state: out of memory");
    for (size_t i = 0; i < st->count; i++) {
        const struct safetensor *tensor = &st->tensors[i];
        if (tensor->dtype != SAFETENSORS_F32)
            return error_set(et, ERR_FORMAT, "state: %.*s is %s, expected F32",
                             TEXT_ARGS(tensor->name), safetensors_dtype_name(tensor->dtype));
        if (tensor->name.size > NAME_BYTES_MAX)
            return error_set(et, ERR_FORMAT, "state: a name of %zu bytes, at most %d are allowed",
                             tensor->name.size, NAME_BYTES_MAX);
        if (!has_prefix(tensor->name, prefix_weight))
            continue;
        struct aggregate_parameter *p = &a->parameters[a->parameter_count++];
        struct text name = {tensor->name.data + prefix_weight.size,
                            tensor->name.size - prefix_weight.size};
        p->name = (struct text){arena_copy_text(&a->arena, name), name.size};
        if (p->name.data == NULL)
            return error_set(et, ERR_OUT_OF_MEMORY, "state: out of memory");
        p->rank = tensor->rank;
        memcpy(p->shape, tensor->shape, sizeof p->shape);
        p->begin = a->width;
        p->count = tensor->data.size / sizeof(float);
        a->width += p->count;
    }
    if (a->width == 0)
        return error_set(et, ERR_FORMAT, "state: no tensor weight.*, nothing to train");
    return ERR_OK;
}

static const struct safetensor *find(const struct safetensors *st, struct text prefix,
                                     const struct aggregate_parameter *p)
{
    char name[2 * NAME_BYTES_MAX];
    memcpy(name, prefix.data, prefix.size);
    memcpy(name + prefix.size, p->name.data, p->name.size);
    return safetensors_find(st, (struct text){name, prefix.size + p->name.size});
}

static enum err copy_tensor(const struct safetensor *tensor, const struct aggregate_parameter *p,
                            float *flat, struct err_text *et)
{
    if (tensor->rank != p->rank ||
        memcmp(tensor->shape, p->shape, p->rank * sizeof p->shape[0]) != 0)
        return error_set(et, ERR_SHAPE, "state: the shape of %.*s is not its weight's",
                         TEXT_ARGS(tensor->name));
    memcpy(flat + p->begin, tensor->data.data, tensor->data.size);
    for (size_t i = 0; i < p->count; i++)
        if (!isfinite(flat[p->begin + i]))
            return error_set(et, ERR_NOT_FINITE, "state: element %zu of %.*s is not finite", i,
                             TEXT_ARGS(tensor->name));
    return ERR_OK;
}

static enum err copy_tensors(struct aggregate *a, const struct safetensors *st, bool has_moments,
                             struct err_text *et)
{
    for (size_t i = 0; i < a->parameter_count; i++) {
        const struct aggregate_parameter *p = &a->parameters[i];
        TRY(copy_tensor(find(st, prefix_weight, p), p, a->weights, et));
        if (!has_moments)
            continue;
        const struct safetensor *m = find(st, prefix_exp_avg, p);
        const struct safetensor *v = find(st, prefix_exp_avg_sq, p);
        if (m == NULL || v == NULL)
            return error_set(et, ERR_FORMAT, "state: %.*s has no moments, others do",
                             TEXT_ARGS(p->name));
        TRY(copy_tensor(m, p, a->exp_avg, et));
        TRY(copy_tensor(v, p, a->exp_avg_sq, et));
    }
    return ERR_OK;
}

static enum err read_state(struct aggregate *a, const struct safetensors *st, struct err_text *et)
{
    if (!text_is(safetensors_note_of(st, "format"), STATE_FILE_FORMAT))
        return error_set(et, ERR_FORMAT, "state: the note format is not " STATE_FILE_FORMAT);
    if (parse_step(safetensors_note_of(st, STATE_FILE_STEP), &a->step) != ERR_OK)
        return error_set(et, ERR_FORMAT, "state: the note step is not a number of steps");
    TRY(list_parameters(a, st, et));
    bool has_moments = st->count > a->parameter_count;
    if (has_moments && st->count != 3 * a->parameter_count)
        return error_set(et, ERR_FORMAT,
                         "state: %zu tensors for %zu parameters, expected one or three each",
                         st->count, a->parameter_count);
    if (!has_moments && a->step > 0)
        return error_set(et, ERR_FORMAT, "state: %" PRIu64 " steps were done, but no moments",
                         a->step);
    a->weights = mem_alloc_aligned(a->width, sizeof *a->weights);
    a->exp_avg = mem_alloc_aligned(a->width, sizeof *a->exp_avg);
    a->exp_avg_sq = mem_alloc_aligned(a->width, sizeof *a->exp_avg_sq);
    if (a->weights == NULL || a->exp_avg == NULL || a->exp_avg_sq == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "state: no memory for 3 x %zu values", a->width);
    return copy_tensors(a, st, has_moments, et);
}

enum err aggregate_create(const struct aggregate_settings *settings, struct span state,
                          struct aggregate **out, struct err_text *et)
{
    struct safetensors st = {0};
    struct aggregate *a = mem_alloc(1, sizeof *a);
    if (a == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "state: out of memory");
    a->settings = *settings;
    arena_init(&a->arena, ARENA_BYTES_MAX);
    bytes_init(&a->ledger, LEDGER_BYTES_MAX);
    enum err err = safetensors_parse(&st, state, "state", et);
    if (err == ERR_OK) {
        err = read_state(a, &st, et);
        safetensors_close(&st);
    }
    if (err != ERR_OK) {
        aggregate_destroy(&a);
        return err;
    }
    *out = a;
    return ERR_OK;
}

void aggregate_destroy(struct aggregate **out)
{
    struct aggregate *a = *out;
    if (a == NULL)
        return;
    mem_free(a->weights);
    mem_free(a->exp_avg);
    mem_free(a->exp_avg_sq);
    bytes_fini(&a->ledger);
    arena_fini(&a->arena);
    mem_free(a);
    *out = NULL;
}

uint64_t aggregate_steps(const struct aggregate *aggregate)
{
    return aggregate->step;
}

uint64_t aggregate_width(const struct aggregate *aggregate)
{
    return aggregate->width;
}

static enum err name_tensor(struct safetensor *tensor, struct arena *arena, struct text prefix,
                            const struct aggregate_parameter *p, const float *flat)
{
    char *name = arena_print(arena, "%.*s%.*s", TEXT_ARGS(prefix), TEXT_ARGS(p->name));
    if (name == NULL)
        return ERR_OUT_OF_MEMORY;
    *tensor =
        (struct safetensor){.name = text_of(name),
                            .dtype = SAFETENSORS_F32,
                            .rank = p->rank,
                            .data = {(const uint8_t *)(flat + p->begin), p->count * sizeof *flat}};
    memcpy(tensor->shape, p->shape, sizeof tensor->shape);
    return ERR_OK;
}

static enum err write_file(const struct aggregate *a, bool with_moments, struct bytes *out)
{
    const struct text prefixes[3] = {prefix_weight, prefix_exp_avg, prefix_exp_avg_sq};
    const float *flats[3] = {a->weights, a->exp_avg, a->exp_avg_sq};
    size_t kinds = with_moments ? 3 : 1;
    struct arena arena;
    char step[STEP_DIGITS];
    arena_init(&arena, ARENA_BYTES_MAX);
    enum err err = ERR_OK;
    struct safetensor *tensors = arena_alloc(&arena, kinds * a->parameter_count, sizeof *tensors);
    if (tensors == NULL)
        err = ERR_OUT_OF_MEMORY;
    for (size_t kind = 0; kind < kinds; kind++)
        for (size_t i = 0; i < a->parameter_count && err == ERR_OK; i++)
            err = name_tensor(&tensors[kind * a->parameter_count + i], &arena, prefixes[kind],
                              &a->parameters[i], flats[kind]);
    if (err == ERR_OK) {
        (void)snprintf(step, sizeof step, "%" PRIu64, a->step);
        const struct safetensors_note notes[] = {{TEXT("format"), TEXT(STATE_FILE_FORMAT)},
                                                 {TEXT(STATE_FILE_STEP), text_of(step)}};
        struct safetensors_content content = {tensors, kinds * a->parameter_count, notes,
                                              COUNT_OF(notes)};
        err = safetensors_write(&content, file_sink_bytes, out);
    }
    arena_fini(&arena);
    return err;
}

enum err aggregate_write_weights(const struct aggregate *aggregate, struct bytes *out)
{
    return write_file(aggregate, false, out);
}

enum err aggregate_write_state(const struct aggregate *aggregate, struct bytes *out)
{
    return write_file(aggregate, true, out);
}
