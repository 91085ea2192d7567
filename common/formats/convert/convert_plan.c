/* convert_plan.c - what plans in both directions share: order, completeness, the file. */
#include "common/formats/convert/convert_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_quantize.h"

static int compare_tensors(const void *a, const void *b)
{
    return convert_name_compare(((const struct convert_tensor *)a)->name,
                                ((const struct convert_tensor *)b)->name);
}

bool convert_plan_order_rows(const struct hf_config *config, const struct gguf_arch *arch,
                             struct convert_tensor *t)
{
    enum convert_role role = t->place.role;
    t->heads = config->num_attention_heads;
    t->kv_heads = config->num_key_value_heads;
    if ((arch->flags & GGUF_ARCH_PERMUTED) != 0 && (role == CONVERT_QUERY || role == CONVERT_KEY)) {
        t->order = CONVERT_ORDER_PAIRS;
        t->heads = role == CONVERT_KEY ? t->kv_heads : t->heads;
        return t->rows % t->heads == 0 && t->rows / t->heads % 2 == 0;
    }
    if (strcmp(arch->name, "falcon") == 0 && role == CONVERT_QUERY_KEY_VALUE) {
        t->order = CONVERT_ORDER_SPLIT;
        return t->rows % (t->heads + 2 * t->kv_heads) == 0;
    }
    return true;
}

enum err convert_plan_sort(struct convert_plan *plan, const char *name, struct err_text *et)
{
    if (plan->count == 0)
        return error_set(et, ERR_FORMAT, "%s: expected the tensors of a model, found none", name);
    qsort(plan->tensors, plan->count, sizeof *plan->tensors, compare_tensors);
    for (size_t i = 1; i < plan->count; i++) {
        if (strcmp(plan->tensors[i - 1].name, plan->tensors[i].name) == 0)
            return error_set(et, ERR_FORMAT, "%s: two tensors become %s", name,
                             plan->tensors[i].name);
    }
    return ERR_OK;
}

/* How many weights, or biases, of the role there are. */
static size_t count_role(const struct convert_plan *plan, enum convert_role role, bool is_bias)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        count += !t->is_made && t->place.role == role && t->place.is_bias == is_bias;
    }
    return count;
}

enum err convert_plan_finish(struct convert_plan *plan, uint32_t layers, const char *name,
                             struct err_text *et)
{
    TRY(convert_plan_sort(plan, name, et));
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->tensors[i].is_made && plan->tensors[i].place.layer >= layers)
            return error_set(et, ERR_FORMAT, "%s: expected %u layers, found tensor %s", name,
                             layers, plan->tensors[i].name);
    }
    for (size_t i = 0; i < CONVERT_ROLE_COUNT; i++) {
        enum convert_role role = (enum convert_role)i;
        char tensor[CONVERT_NAME_BYTES];
        size_t wanted = convert_name_is_of_layer(role) ? layers : 1;
        size_t weights = count_role(plan, role, false);
        size_t biases = count_role(plan, role, true);
        if (!convert_name_is_stored(plan->family, role) ||
            (weights == wanted && (biases == wanted || biases == 0)) ||
            (role == CONVERT_HEAD && weights + biases == 0)) /* tied */
            continue;
        convert_name_print_gguf(plan->family, (struct convert_place){.role = role}, tensor);
        return error_set(et, ERR_FORMAT, "%s: expected %zu tensors like %s, found %zu", name,
                         wanted, tensor, weights != wanted ? weights : biases);
    }
    return ERR_OK;
}

enum err convert_plan_family(const struct gguf *gguf, const struct gguf_arch *arch,
                             const struct convert_family **out, struct err_text *et)
{
    struct text unknown = TEXT("names");
    const struct convert_family *family;
    for (size_t i = 0; (family = convert_name_family(arch, i)) != NULL; i++) {
        struct convert_place place;
        bool fits = true;
        for (size_t k = 0; k < gguf->tensor_count && fits; k++) {
            const struct gguf_tensor *t = &gguf->tensors[k];
            fits = convert_plan_is_factors(t) || convert_name_of_gguf(family, t->name, &place);
            if (!fits)
                unknown = t->name;
        }
        if (fits) {
            *out = family;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "%s: tensor %.*s: models of architecture %s have none here", gguf->name,
                     TEXT_ARGS(unknown), arch->name);
}

bool convert_plan_is_factors(const struct gguf_tensor *t)
{
    return text_is(t->name, GGUF_CONFIG_ROPE_FREQS) || text_is(t->name, GGUF_CONFIG_ROPE_LONG) ||
           text_is(t->name, GGUF_CONFIG_ROPE_SHORT);
}

enum err convert_plan_declare(const struct convert_plan *plan, const char *name,
                              struct gguf_write *w, struct err_text *et)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        if (strlen(t->name) >= GGUF_NAME_BYTES_MAX)
            return error_set(et, ERR_LIMIT, "%s: tensor %s: expected a name of less than %d bytes",
                             name, t->name, GGUF_NAME_BYTES_MAX);
        gguf_write_tensor(w, text_of(t->name), t->out, t->rank, t->shape);
    }
    return ERR_OK;
}

enum err convert_plan_encode(const struct convert_tensor *t, file_sink_f sink, void *context,
                             struct err_text *et)
{
    return t->encoder != NULL ? convert_quantize_write(t, sink, context, et)
                              : convert_tensor_write(t, sink, context);
}

static enum err send_piece(void *context, struct span piece)
{
    return gguf_write_data(context, piece);
}

enum err convert_plan_send(const struct convert_plan *plan, struct gguf_write *w,
                           convert_plan_given_f given, void *given_context, file_sink_f sink,
                           void *context, struct err_text *et)
{
    TRY(gguf_write_header(w, sink, context));
    for (size_t i = 0; i < plan->count; i++) {
        const struct convert_tensor *t = &plan->tensors[i];
        struct span made = {0};
        if (given != NULL)
            TRY(given(given_context, i, &made, et));
        if (made.data == NULL)
            TRY(convert_plan_encode(t, send_piece, w, et));
        else if (made.size == convert_tensor_size_bytes(t))
            TRY(gguf_write_data(w, made));
        else
            return error_set(et, ERR_SHAPE,
                             "tensor %s: expected %" PRIu64 " bytes of %s, found %zu", t->name,
                             convert_tensor_size_bytes(t), block_format_name(t->out), made.size);
    }
    return gguf_write_finish(w);
}

enum err convert_plan_write(const struct convert_plan *plan, struct gguf_write *w, const char *path,
                            struct err_text *et)
{
    struct file_writer file;
    TRY(file_writer_open(&file, path, et));
    enum err err = convert_plan_send(plan, w, NULL, NULL, file_sink_writer, &file, et);
    if (err == ERR_OK)
        return file_writer_commit(&file, et);
    file_writer_abandon(&file);
    if (err == ERR_NOT_FINITE) /* the tensor's message stands */
        return err;
    return error_set(et, err, "%s: cannot be written: %s", path, error_text(err));
}
