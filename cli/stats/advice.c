/* advice.c - a step up for the worst tensors, as YAML. */
#include "cli/stats/advice.h"

#include <math.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/formats/gguf/block_format.h"
#include "common/recipe/recipe_quantize.h"

#define WEIGHT ".weight"

const char *advice_better(struct text format, uint64_t columns)
{
    static const struct {
        const char *from, *wide, *narrow; /* narrow: rows that are no whole blocks of 256 */
    } steps[] = {
        {"TQ1_0", "Q4_K", "Q5_0"}, {"TQ2_0", "Q4_K", "Q5_0"}, {"Q2_K", "Q4_K", "Q4_0"},
        {"Q3_K", "Q5_K", "Q5_0"},  {"Q4_K", "Q6_K", "Q8_0"},  {"Q5_K", "Q6_K", "Q8_0"},
        {"Q6_K", "Q8_0", "Q8_0"},  {"Q4_0", "Q6_K", "Q5_1"},  {"Q4_1", "Q6_K", "Q5_1"},
        {"Q5_0", "Q8_0", "Q8_0"},  {"Q5_1", "Q8_0", "Q8_0"},  {"IQ4_NL", "Q6_K", "Q5_1"},
    };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        if (text_is(format, steps[i].from))
            return columns % 256 == 0 ? steps[i].wide : steps[i].narrow;
    }
    return NULL;
}

static struct text without_ending(struct text name)
{
    size_t size = strlen(WEIGHT);
    if (name.size > size && memcmp(name.data + name.size - size, WEIGHT, size) == 0)
        name.size -= size;
    return name;
}

/* ---- towards GGUF: another type ---- */

/* In single quotes YAML leaves backslashes alone. */
static void put_pattern(struct bytes *out, struct text name)
{
    bytes_print(out, "'^");
    for (size_t i = 0; i < name.size; i++)
        bytes_print(out, name.data[i] == '.' ? "\\%c" : "%c", name.data[i]);
    bytes_print(out, "\\.'");
}

static void put_quoted(struct bytes *out, struct text text)
{
    bytes_print(out, "'");
    for (size_t i = 0; i < text.size; i++)
        bytes_print(out, text.data[i] == '\'' ? "''" : "%c", text.data[i]);
    bytes_print(out, "'");
}

static uint64_t growth(const struct figure *f, const char *format)
{
    size_t size;
    enum block_format better = block_format_named(text_of(format));
    if (better == BLOCK_FORMAT_COUNT ||
        !block_format_size_bytes(better, f->rows * f->columns, &size))
        return 0;
    return size - MIN(size, (size_t)f->size_bytes);
}

static void print_types(const struct overview *overview, const struct recipe_quantize *q,
                        struct bytes *out, uint64_t *extra_bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < overview->count && count < ADVICE_TENSORS_MAX; i++) {
        const struct figure *f = overview->rows[i].figure;
        const char *better =
            f != NULL && isfinite(f->weighted) ? advice_better(f->format, f->columns) : NULL;
        if (better == NULL)
            continue;
        bytes_print(out, count++ == 0 ? "tensor_type: {" : ", ");
        put_pattern(out, without_ending(f->name));
        bytes_print(out, ": %s", better);
        *extra_bytes += growth(f, better);
    }
    if (count == 0)
        return;
    for (size_t i = 0; i < q->tensor_type_count; i++) { /* the first that fits decides */
        const char *equals = strrchr(q->tensor_type[i], '=');
        if (equals == NULL)
            continue;
        bytes_print(out, ", ");
        put_quoted(out, (struct text){q->tensor_type[i], (size_t)(equals - q->tensor_type[i])});
        bytes_print(out, ": %s", equals + 1);
    }
    bytes_print(out, "}\n");
}

/* ---- towards a folder: left as it is ---- */

static bool is_together(const struct tensor_place *a, const struct tensor_place *b)
{
    return a->in_layer && a->input != TENSOR_PLACE_OTHER && tensor_place_reads(a, b);
}

/* Whether row `i` is the first of those that share its input. */
static bool leads(const struct overview *overview, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (overview->rows[k].figure != NULL &&
            is_together(&overview->rows[i].place, &overview->rows[k].place))
            return false;
    }
    return true;
}

static void put_ignored(const struct overview *overview, size_t lead, struct bytes *out,
                        uint64_t *extra_bytes)
{
    const struct overview_row *rows = overview->rows;
    for (size_t k = 0; k < overview->count; k++) {
        const struct figure *f = rows[k].figure;
        if (f == NULL || (k != lead && !is_together(&rows[lead].place, &rows[k].place)))
            continue;
        uint64_t whole = 2 * f->rows * f->columns; /* bf16 */
        bytes_print(out, ", %.*s", TEXT_ARGS(without_ending(f->name)));
        *extra_bytes += whole - MIN(whole, f->size_bytes);
    }
}

static void print_ignored(const struct overview *overview, const struct recipe_quantize *q,
                          struct bytes *out, uint64_t *extra_bytes)
{
    struct bytes list;
    size_t count = 0;
    bytes_init(&list, LIMIT_RECIPE_BYTES);
    for (size_t i = 0; i < overview->count && count < ADVICE_TENSORS_MAX; i++) {
        const struct figure *f = overview->rows[i].figure;
        if (f == NULL || !isfinite(f->weighted) || !leads(overview, i))
            continue;
        put_ignored(overview, i, &list, extra_bytes);
        count++;
    }
    if (count > 0 && bytes_status(&list) == ERR_OK) {
        bytes_print(out, "ignore: [");
        for (size_t i = 0; i < q->ignore_count; i++) {
            bytes_print(out, i == 0 ? "" : ", ");
            put_quoted(out, text_of(q->ignore[i]));
        }
        bytes_print(out, q->ignore_count == 0 ? "lm_head" : "");
        bytes_append(out, list.data, list.size);
        bytes_print(out, "]\n");
    }
    bytes_fini(&list);
}

enum err advice_print(const struct overview *overview, const struct recipe *recipe,
                      struct bytes *out, uint64_t *extra_bytes)
{
    *extra_bytes = 0;
    if (recipe_quantize_form(recipe) == RECIPE_QUANTIZE_GGUF)
        print_types(overview, &recipe->quantize, out, extra_bytes);
    else
        print_ignored(overview, &recipe->quantize, out, extra_bytes);
    return bytes_status(out);
}
