/* convert_quantize.c - formats chosen, rows encoded and looked at again. */
#include "common/formats/convert/convert_quantize.h"

#include <regex.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

/* Elements encoded at once, unless a row has more. */
enum { BATCH_ELEMENTS = 1 << 20, LOOKED_AT_TOGETHER = 256, EXCEPTIONS_MAX = 64 };

struct patterns {
    regex_t compiled[EXCEPTIONS_MAX]; /* owned */
    size_t count;
};

static enum err compile_patterns(const struct convert_quantize *q, struct patterns *p,
                                 struct err_text *et)
{
    if (q->exception_count > EXCEPTIONS_MAX)
        return error_set(et, ERR_LIMIT, "patterns of tensor types: expected at most %d, found %zu",
                         EXCEPTIONS_MAX, q->exception_count);
    for (; p->count < q->exception_count; p->count++) {
        char why[128];
        const char *pattern = q->exceptions[p->count].pattern;
        int code = regcomp(&p->compiled[p->count], pattern, REG_EXTENDED | REG_NOSUB);
        if (code == 0)
            continue;
        (void)regerror(code, &p->compiled[p->count], why, sizeof why);
        return error_set(et, ERR_USAGE, "pattern of a tensor type: %s: %s", pattern, why);
    }
    return ERR_OK;
}

static void except(const struct convert_quantize *q, const struct patterns *p,
                   struct convert_tensor *t)
{
    for (size_t i = 0; i < p->count; i++) {
        if (regexec(&p->compiled[i], t->name, 0, NULL, 0) == 0) {
            t->out = convert_mix_fallback(q->exceptions[i].format, t->columns);
            t->is_given = true;
            return;
        }
    }
}

/* Finds the importance of a weight. The embedding's rows are looked up, not multiplied: a width
 * that is not its own says nothing. */
static enum err weigh(const struct convert_quantize *q, const char *name, struct arena *arena,
                      struct convert_tensor *t, size_t *found, struct err_text *et)
{
    const struct imatrix_entry *entry =
        q->importance != NULL ? imatrix_find(q->importance, text_of(t->name)) : NULL;
    if (entry == NULL && t->encoder != NULL && q->mix != NULL &&
        convert_mix_needs_importance(q->mix) && t->place.role != CONVERT_EMBEDDING &&
        t->out == convert_mix_format(q->mix))
        return error_set(et, ERR_USAGE,
                         "%s: tensor %s: %s needs an importance matrix, which has no such weight",
                         name, t->name, convert_mix_name(q->mix));
    if (entry == NULL)
        return ERR_OK;
    *found += 1;
    if (entry->columns * entry->matrices != t->columns && t->place.role == CONVERT_EMBEDDING)
        return ERR_OK;
    if (entry->columns * entry->matrices != t->columns)
        return error_set(et, ERR_SHAPE,
                         "%s: tensor %s: expected importance of %zu columns, found %zu; is the "
                         "matrix of another model?",
                         name, t->name, t->columns, entry->columns * entry->matrices);
    float *mean = arena_alloc(arena, t->columns, sizeof *mean);
    if (mean == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", name);
    imatrix_mean(entry, mean);
    t->importance = mean;
    return ERR_OK;
}

static bool is_blocks(enum block_format format)
{
    return format != BLOCK_FORMAT_COUNT && !convert_float_is_plain(format);
}

/* A tensor whose format is chosen: its encoder, unless it is plain or in these blocks already and
 * passes on as it lies; and what an encoder weighs columns with. */
static enum err set_encoder(const struct convert_quantize *q, const char *name, struct arena *arena,
                            struct convert_tensor *t, size_t *found, struct err_text *et)
{
    if (is_blocks(t->in) && !q->allow_requantize)
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: tensor %s is %s already; quantize from the original weights, or "
                         "allow it: --allow-requantize, quantize.allow_requantize",
                         name, t->name, block_format_name(t->in));
    if (is_blocks(t->in) && t->in != t->out && t->decode == NULL)
        return error_set(et, ERR_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, found %s",
                         name, t->name, block_format_name(t->in));
    if (t->in != t->out && !convert_float_is_plain(t->out))
        t->encoder = &q->encoder;
    return weigh(q, name, arena, t, found, et);
}

/* The one choice for the tensor; NULL when there is none. */
static enum err find_choice(const struct convert_quantize *q, const char *name,
                            const struct convert_tensor *t, const struct convert_choice **out,
                            struct err_text *et)
{
    *out = NULL;
    for (size_t i = 0; i < q->choice_count; i++) {
        if (!text_is(q->choices[i].name, t->name))
            continue;
        if (*out != NULL)
            return error_set(et, ERR_FORMAT, "%s: tensor %s: expected one choice, found two", name,
                             t->name);
        *out = &q->choices[i];
    }
    return ERR_OK;
}

static enum err take_choice(const struct convert_choice *choice, const char *name, bool takes_part,
                            struct convert_tensor *t, struct err_text *et)
{
    if (!takes_part && choice->format != t->out)
        return error_set(et, ERR_UNSUPPORTED, "%s: tensor %s: stays %s, is chosen to be %s", name,
                         t->name, block_format_name(t->out), block_format_name(choice->format));
    if (t->columns % block_format_elements(choice->format) != 0)
        return error_set(et, ERR_SHAPE, "%s: tensor %s: %zu columns are no whole blocks of %s",
                         name, t->name, t->columns, block_format_name(choice->format));
    t->out = choice->format;
    t->is_given = true;
    return ERR_OK;
}

static enum err name_unknown(const struct convert_quantize *q, const char *name,
                             const struct convert_plan *plan, struct err_text *et)
{
    for (size_t i = 0; i < q->choice_count; i++) {
        bool is_known = false;
        for (size_t k = 0; k < plan->count && !is_known; k++)
            is_known = text_is(q->choices[i].name, plan->tensors[k].name);
        if (!is_known)
            return error_set(et, ERR_NOT_FOUND, "%s: tensor %.*s is chosen, but there is none",
                             name, TEXT_ARGS(q->choices[i].name));
    }
    return ERR_OK;
}

static enum err plan_choices(const struct convert_quantize *q, const char *name,
                             struct arena *arena, struct convert_plan *plan, size_t *found,
                             struct err_text *et)
{
    size_t taken = 0;
    for (size_t i = 0; i < plan->count; i++) {
        struct convert_tensor *t = &plan->tensors[i];
        const struct convert_choice *choice;
        bool takes_part = convert_quantize_takes(q, t);
        TRY(find_choice(q, name, t, &choice, et));
        if (choice == NULL)
            continue;
        taken++;
        TRY(take_choice(choice, name, takes_part, t, et));
        if (takes_part)
            TRY(set_encoder(q, name, arena, t, found, et));
    }
    return taken == q->choice_count ? ERR_OK : name_unknown(q, name, plan, et);
}

static enum err plan_mix(const struct convert_quantize *q, const struct convert_mix_model *model,
                         const struct patterns *patterns, const char *name, struct arena *arena,
                         struct convert_plan *plan, size_t *found, struct err_text *et)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct convert_tensor *t = &plan->tensors[i];
        if (!convert_quantize_takes(q, t))
            continue;
        t->out = convert_mix_choose(q->mix, model, &q->switches, t->place, t->columns);
        t->is_given = convert_mix_is_given(model, &q->switches, t->place);
        except(q, patterns, t);
        TRY(set_encoder(q, name, arena, t, found, et));
    }
    return ERR_OK;
}

bool convert_quantize_takes(const struct convert_quantize *q, const struct convert_tensor *t)
{
    static const struct convert_mix_switches none = {0};
    return !t->is_made &&
           convert_mix_takes(t->place, t->rank, q->choice_count > 0 ? &none : &q->switches);
}

enum err convert_quantize_plan(const struct convert_quantize *q, const struct hf_config *config,
                               const char *name, struct arena *arena, struct convert_plan *plan,
                               struct err_text *et)
{
    const struct gguf_arch *arch = NULL;
    TRY(gguf_arch_of_config(config, name, &arch, et));
    struct convert_mix_model model = {.architecture = arch->name,
                                      .layers = config->num_hidden_layers,
                                      .heads = config->num_attention_heads,
                                      .kv_heads = config->num_key_value_heads,
                                      .has_importance = q->importance != NULL};
    for (size_t i = 0; i < plan->count; i++)
        model.has_head = model.has_head ||
                         (plan->tensors[i].place.role == CONVERT_HEAD && !plan->tensors[i].is_made);
    struct patterns *patterns = mem_alloc(1, sizeof *patterns);
    if (patterns == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "%s: out of memory", name);
    size_t found = 0;
    enum err err;
    TRY_OUT(compile_patterns(q, patterns, et));
    TRY_OUT(q->choice_count > 0 ? plan_choices(q, name, arena, plan, &found, et)
                                : plan_mix(q, &model, patterns, name, arena, plan, &found, et));
    if (q->importance != NULL && found == 0)
        err = error_set(et, ERR_NOT_FOUND,
                        "%s: the importance matrix has none of its weights; is it of another "
                        "model?",
                        name);
out:
    for (size_t i = 0; i < patterns->count; i++)
        regfree(&patterns->compiled[i]);
    mem_free(patterns);
    return err;
}

static uint32_t file_type_of(enum block_format format)
{
    const struct convert_mix *mix = convert_mix_of_format(format);
    return mix != NULL                  ? convert_mix_file_type(mix)
           : format == BLOCK_FORMAT_F32 ? GGUF_WRITE_FILE_TYPE_F32
           : format == BLOCK_FORMAT_F16 ? GGUF_WRITE_FILE_TYPE_F16
                                        : GGUF_WRITE_FILE_TYPE_BF16;
}

uint32_t convert_quantize_file_type(const struct convert_quantize *q,
                                    const struct convert_plan *plan)
{
    uint64_t weights[BLOCK_FORMAT_COUNT] = {0};
    unsigned most = BLOCK_FORMAT_F32;
    if (q != NULL && q->mix != NULL)
        return convert_mix_file_type(q->mix);
    for (size_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        if (t->is_made || t->rank != 2)
            continue;
        if (q == NULL && convert_name_kind(t->place.role) == CONVERT_LINEAR)
            return file_type_of(t->out); /* plain: the first speaks for all */
        weights[t->out] += (uint64_t)t->rows * t->columns;
    }
    for (unsigned i = 0; i < BLOCK_FORMAT_COUNT && q != NULL; i++)
        most = weights[i] > weights[most] ? i : most;
    return file_type_of((enum block_format)most);
}

static void put_i32(struct gguf_write *w, const char *key, size_t number)
{
    int32_t value = (int32_t)number;
    gguf_write_value(w, &(struct gguf_value){.key = text_of(key),
                                             .type = GGUF_I32,
                                             .count = 1,
                                             .data = {(const uint8_t *)&value, sizeof value}});
}

void convert_quantize_keys(const struct convert_quantize *q, struct gguf_write *w)
{
    if (q->importance == NULL)
        return;
    gguf_write_text(w, "quantize.imatrix.file", text_of(q->importance_file));
    if (q->importance->dataset_count > 0)
        gguf_write_text(w, "quantize.imatrix.dataset", q->importance->datasets[0]);
    put_i32(w, "quantize.imatrix.entries_count", q->importance->count);
    if (q->importance->chunk_count > 0)
        put_i32(w, "quantize.imatrix.chunks_count", q->importance->chunk_count);
}

/* Beyond it no format holds a number, and sums of the searches overflow. */
#define MAGNITUDE_MAX 0x1p28f

/* The first number beyond the limit, or NaN; `count` when there is none. A block is looked at as a
 * whole, which vectors do; the one that fails, element by element. */
static size_t find_beyond(size_t count, const float *x, float limit)
{
    size_t at = 0;
    for (; at + LOOKED_AT_TOGETHER <= count; at += LOOKED_AT_TOGETHER) {
        uint32_t within = 1;
        for (size_t i = 0; i < LOOKED_AT_TOGETHER; i++)
            within &= (uint32_t)(x[at + i] >= -limit) & (uint32_t)(x[at + i] <= limit);
        if (within == 0)
            break;
    }
    while (at < count && x[at] >= -limit && x[at] <= limit)
        at++;
    return at;
}

static enum err refuse(const struct convert_tensor *t, size_t row, size_t at, float value,
                       struct err_text *et)
{
    row += at / t->columns;
    at %= t->columns;
    if (!(value >= -0x1.fffffep127f && value <= 0x1.fffffep127f))
        return error_set(et, ERR_NOT_FINITE,
                         "tensor %s: row %zu, column %zu: expected a number, found %g", t->name,
                         row, at, (double)value);
    return error_set(et, ERR_NOT_FINITE,
                     "tensor %s: row %zu, column %zu: %g is too large for the scales of %s",
                     t->name, row, at, (double)value, block_format_name(t->out));
}

/* Working memory of one tensor. */
struct batch {
    float *values;  /* owned */
    uint8_t *bytes; /* owned */
    size_t rows;
};

static enum err write_batch(const struct convert_tensor *t, size_t row, size_t rows,
                            const struct batch *b, file_sink_f sink, void *context,
                            struct err_text *et)
{
    const size_t count = rows * t->columns;
    size_t size = count / block_format_elements(t->out) * block_format_bytes(t->out);
    for (size_t i = 0; i < rows; i++)
        convert_tensor_row(t, row + i, b->values + i * t->columns);
    size_t at = find_beyond(count, b->values, MAGNITUDE_MAX);
    if (at < count)
        return refuse(t, row, at, b->values[at], et);
    t->encoder->encode(t->encoder->context, t->out, rows, t->columns, b->values, t->importance,
                       b->bytes);
    t->encoder->decode(t->out, count, b->bytes, b->values);
    at = find_beyond(count, b->values, 0x1.fffffep127f);
    if (at < count) { /* a scale was */
        convert_tensor_row(t, row + at / t->columns, b->values);
        return refuse(t, row, at, b->values[at % t->columns], et);
    }
    return sink(context, (struct span){b->bytes, size});
}

enum err convert_quantize_write(const struct convert_tensor *t, file_sink_f sink, void *context,
                                struct err_text *et)
{
    struct batch b = {.rows = MIN(t->rows, MAX(BATCH_ELEMENTS / t->columns, (size_t)1))};
    b.values = mem_alloc(b.rows * t->columns, sizeof *b.values);
    b.bytes = mem_alloc(b.rows * t->columns, sizeof *b.values);
    enum err err = b.values != NULL && b.bytes != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    for (size_t row = 0; row < t->rows && err == ERR_OK; row += b.rows)
        err = write_batch(t, row, MIN(b.rows, t->rows - row), &b, sink, context, et);
    mem_free(b.values);
    mem_free(b.bytes);
    return err;
}
