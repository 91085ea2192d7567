/* module_change.c - see module_change.h. */
#include "cli/command/module_change.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"
#include "schemas/state_file.def"

enum { PIECE_VALUES = 1 << 14 };

/* One of the two: its head, and where the rest is read. */
struct side {
    const struct module_change_state *state;
    struct bytes head; /* owned */
    struct safetensors tensors;
    float piece[PIECE_VALUES];
};

struct sides {
    struct side before, after;
};

/* Sums of squares while they grow, in the members of a row. */
struct sums {
    struct text module;
    uint64_t parameters;
    double before, after, difference;
    bool in_before, in_after, fits;
};

static bool is_weight(struct text name)
{
    size_t size = sizeof STATE_FILE_WEIGHT - 1;
    return name.size > size && memcmp(name.data, STATE_FILE_WEIGHT, size) == 0;
}

/* "weight.model.layers.0.q_proj.lora_A.weight" is of model.layers.0.q_proj. */
static struct text module_of(struct text name)
{
    static const char *const ends[] = {".weight", ".bias"};
    size_t skip = sizeof STATE_FILE_WEIGHT - 1;
    struct text module = {name.data + skip, name.size - skip};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        size_t size = strlen(ends[i]);
        if (module.size > size && memcmp(module.data + module.size - size, ends[i], size) == 0)
            module.size -= size;
    }
    const char *factors[] = {".lora_", ".magnitude", ".lora_embedding_"};
    for (size_t at = module.size; at-- > 1;) {
        if (module.data[at] != '.')
            continue;
        for (size_t i = 0; i < COUNT_OF(factors); i++) {
            size_t size = strlen(factors[i]);
            if (module.size - at > size && memcmp(module.data + at, factors[i], size) == 0)
                module.size = at;
        }
        break; /* only the last part */
    }
    return module;
}

/* Values `from` on of a tensor, zeros behind its end or where there is none. */
static enum err read_piece(struct side *side, const struct safetensor *t, size_t from, size_t count,
                           struct err_text *et)
{
    size_t there = t == NULL ? 0 : t->data.size / sizeof(float);
    size_t known = there > from ? MIN(count, there - from) : 0;
    memset(side->piece + known, 0, (count - known) * sizeof(float));
    if (known == 0)
        return ERR_OK;
    uint64_t begin = side->tensors.begins[t - side->tensors.tensors] + from * sizeof(float);
    return side->state->read(side->state->context, begin, side->piece, known * sizeof(float), et);
}

static enum err add(struct sums *s, struct sides *sides, const struct safetensor *a,
                    const struct safetensor *b, struct err_text *et)
{
    size_t count_a = a == NULL ? 0 : a->data.size / sizeof(float);
    size_t count_b = b == NULL ? 0 : b->data.size / sizeof(float);
    size_t count = MAX(count_a, count_b);
    bool fits = count_a == count_b;
    s->in_before |= a != NULL;
    s->in_after |= b != NULL;
    s->fits &= fits;
    s->parameters += count;
    for (size_t from = 0; from < count; from += PIECE_VALUES) {
        size_t size = MIN(count - from, (size_t)PIECE_VALUES);
        TRY(read_piece(&sides->before, a, from, size, et));
        TRY(read_piece(&sides->after, b, from, size, et));
        for (size_t i = 0; i < size; i++) {
            double x = (double)sides->before.piece[i], y = (double)sides->after.piece[i];
            s->before += x * x;
            s->after += y * y;
            s->difference += fits ? (x - y) * (x - y) : 0;
        }
    }
    return ERR_OK;
}

static struct sums *sums_of(struct sums *sums, uint32_t *count, struct text module)
{
    for (uint32_t i = *count; i-- > 0;) { /* tensors of a module follow each other */
        if (text_equal(sums[i].module, module))
            return &sums[i];
    }
    if (*count == LIMIT_LIST_ROWS)
        return NULL;
    sums[*count] = (struct sums){.module = module, .fits = true};
    return &sums[(*count)++];
}

static enum err add_all(struct sides *sides, struct sums *sums, uint32_t *count,
                        struct err_text *et)
{
    const struct safetensors *before = &sides->before.tensors, *after = &sides->after.tensors;
    for (size_t i = 0; i < before->count; i++) {
        const struct safetensor *a = &before->tensors[i];
        struct sums *s = is_weight(a->name) ? sums_of(sums, count, module_of(a->name)) : NULL;
        if (s != NULL)
            TRY(add(s, sides, a, safetensors_find(after, a->name), et));
    }
    for (size_t i = 0; i < after->count; i++) {
        const struct safetensor *b = &after->tensors[i];
        bool is_new = is_weight(b->name) && safetensors_find(before, b->name) == NULL;
        struct sums *s = is_new ? sums_of(sums, count, module_of(b->name)) : NULL;
        if (s != NULL)
            TRY(add(s, sides, NULL, b, et));
    }
    return ERR_OK;
}

static int compare(const void *a, const void *b)
{
    const struct module_change *left = a, *right = b;
    bool has_left = isfinite(left->change), has_right = isfinite(right->change);
    if (has_left != has_right)
        return has_left ? -1 : 1;
    if (has_left && (left->change > right->change || left->change < right->change))
        return left->change > right->change ? -1 : 1;
    size_t size = MIN(left->module.size, right->module.size);
    int order = memcmp(left->module.data, right->module.data, size);
    return order != 0 ? order
                      : (left->module.size > right->module.size) -
                            (left->module.size < right->module.size);
}

static enum err fill(struct sides *sides, struct arena *arena, struct module_change **rows,
                     uint32_t *count, struct err_text *et)
{
    struct sums *sums = arena_alloc(arena, LIMIT_LIST_ROWS, sizeof *sums);
    *count = 0;
    if (sums == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(add_all(sides, sums, count, et));
    *rows = arena_alloc(arena, *count, sizeof **rows);
    if (*rows == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < *count; i++) {
        const struct sums *s = &sums[i];
        const char *name = arena_copy_text(arena, s->module);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        bool is_both = s->in_before && s->in_after && s->fits;
        (*rows)[i] = (struct module_change){
            .module = {name, s->module.size},
            .parameters = s->parameters,
            .norm_before = s->in_before ? sqrt(s->before) : (double)NAN,
            .norm_after = s->in_after ? sqrt(s->after) : (double)NAN,
            .change = is_both && s->before > 0 ? sqrt(s->difference / s->before) : (double)NAN};
    }
    if (*count > 0)
        qsort(*rows, *count, sizeof **rows, compare);
    return ERR_OK;
}

static enum err open_side(struct side *side, const struct module_change_state *state,
                          const char *name, struct err_text *et)
{
    uint8_t prefix[SAFETENSORS_PREFIX_BYTES];
    side->state = state;
    bytes_init(&side->head, SAFETENSORS_PREFIX_BYTES + SAFETENSORS_HEADER_BYTES_MAX);
    if (state->size_bytes < sizeof prefix)
        return error_set(et, ERR_TRUNCATED, "%s: %" PRIu64 " bytes are no state", name,
                         state->size_bytes);
    TRY(state->read(state->context, 0, prefix, sizeof prefix, et));
    uint64_t size = MIN(safetensors_head_bytes(prefix), state->size_bytes);
    uint8_t *head = bytes_extend(&side->head, (size_t)size);
    if (head == NULL)
        return error_set(et, ERR_FORMAT, "%s: a head of %" PRIu64 " bytes is no state's", name,
                         size);
    TRY(state->read(state->context, 0, head, (size_t)size, et));
    return safetensors_parse_head(&side->tensors, bytes_span(&side->head), state->size_bytes, name,
                                  et);
}

static void close_side(struct side *side)
{
    safetensors_close(&side->tensors);
    bytes_fini(&side->head);
}

enum err module_change_list(const struct module_change_state *before,
                            const struct module_change_state *after, struct arena *arena,
                            struct module_change **rows, uint32_t *count, struct err_text *et)
{
    struct sides *sides = mem_alloc(1, sizeof *sides);
    if (sides == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = open_side(&sides->before, before, "the first checkpoint", et);
    if (err == ERR_OK)
        err = open_side(&sides->after, after, "the second checkpoint", et);
    if (err == ERR_OK)
        err = fill(sides, arena, rows, count, et);
    close_side(&sides->before);
    close_side(&sides->after);
    mem_free(sides);
    return err;
}
