/* output_shape.c - see output_shape.h. */
#include "cli/command/output_shape.h"

#include "common/base/check.h"
#include "common/view/json_schema.h"

enum kind { TEXTS, COUNTS, NUMBERS, FLAGS, OBJECTS };

/* In lists of LIST; absent where it says nothing of the thing at hand (MAYBE), null where it is not
 * known or not there (NULL_TOO). */
enum { LIST = 1, MAYBE = 2, NULL_TOO = 4 };

struct shape;

struct member {
    const char *name;
    enum kind kind;
    unsigned flags;
    const struct shape *shape; /* of OBJECTS */
};

struct shape {
    const struct member *members;
    size_t count;
};

#define SHAPE(name, ...)                                                                           \
    static const struct member name##_members[] = {__VA_ARGS__};                                   \
    static const struct shape name = {name##_members, COUNT_OF(name##_members)}

SHAPE(figures, {"name", TEXTS, 0, NULL}, {"module", TEXTS, 0, NULL},
      {"layer", COUNTS, NULL_TOO, NULL}, {"format", TEXTS, 0, NULL}, {"rows", COUNTS, 0, NULL},
      {"columns", COUNTS, 0, NULL}, {"size_bytes", COUNTS, 0, NULL},
      {"bits_per_weight", NUMBERS, NULL_TOO, NULL}, {"relative_error", NUMBERS, NULL_TOO, NULL},
      {"weighted_error", NUMBERS, NULL_TOO, NULL}, {"max_error", NUMBERS, NULL_TOO, NULL},
      {"output_error", NUMBERS, NULL_TOO, NULL});
SHAPE(input, {"name", TEXTS, 0, NULL}, {"columns", COUNTS, 0, NULL}, {"tokens", COUNTS, 0, NULL},
      {"min", NUMBERS, NULL_TOO, NULL}, {"max", NUMBERS, NULL_TOO, NULL},
      {"mean_abs", NUMBERS, NULL_TOO, NULL}, {"outlier", NUMBERS, NULL_TOO, NULL},
      {"spread", NUMBERS, NULL_TOO, NULL});
SHAPE(calibration, {"key", TEXTS, NULL_TOO, NULL}, {"rows", COUNTS, 0, NULL},
      {"tokens", COUNTS, 0, NULL}, {"inputs", COUNTS, 0, NULL});
SHAPE(stats_tensor, {"name", TEXTS, 0, NULL}, {"figures", OBJECTS, NULL_TOO, &figures},
      {"input", OBJECTS, NULL_TOO, &input});
SHAPE(advice, {"quantize", TEXTS, 0, NULL}, {"extra_bytes", COUNTS, 0, NULL});
SHAPE(stats, {"job", TEXTS, 0, NULL}, {"name", TEXTS, 0, NULL},
      {"calibration", OBJECTS, NULL_TOO, &calibration}, {"tensors", OBJECTS, LIST, &stats_tensor},
      {"advice", OBJECTS, NULL_TOO, &advice});

SHAPE(columns, {"rms", NUMBERS, LIST | MAYBE | NULL_TOO, NULL},
      {"max_abs", NUMBERS, LIST | MAYBE | NULL_TOO, NULL},
      {"mean_abs", NUMBERS, LIST | MAYBE | NULL_TOO, NULL},
      {"min", NUMBERS, LIST | MAYBE | NULL_TOO, NULL},
      {"max", NUMBERS, LIST | MAYBE | NULL_TOO, NULL}, {"quantiles", NUMBERS, LIST, NULL});
SHAPE(important, {"column", COUNTS, 0, NULL}, {"share", NUMBERS, 0, NULL},
      {"rms", NUMBERS, 0, NULL});
SHAPE(clip, {"observer", TEXTS, 0, NULL}, {"clip", NUMBERS, 0, NULL}, {"scale", NUMBERS, 0, NULL},
      {"mean_square", NUMBERS, NULL_TOO, NULL}, {"clipped", NUMBERS, NULL_TOO, NULL},
      {"chosen", FLAGS, 0, NULL});
SHAPE(histogram, {"step", NUMBERS, 0, NULL}, {"counts", COUNTS, LIST, NULL});
SHAPE(tensor, {"name", TEXTS, 0, NULL}, {"figures", OBJECTS, NULL_TOO, &figures},
      {"input", OBJECTS, NULL_TOO, &input}, {"columns", OBJECTS, MAYBE, &columns},
      {"importance", OBJECTS, LIST | MAYBE, &important}, {"clips", OBJECTS, LIST | MAYBE, &clip},
      {"histogram", OBJECTS, NULL_TOO, &histogram});

SHAPE(type, {"type", TEXTS, 0, NULL}, {"tensors", COUNTS, 0, NULL}, {"elements", COUNTS, 0, NULL},
      {"size_bytes", COUNTS, 0, NULL});
SHAPE(file_tensor, {"name", TEXTS, 0, NULL}, {"type", TEXTS, 0, NULL},
      {"shape", COUNTS, LIST, NULL}, {"size_bytes", COUNTS, 0, NULL});
SHAPE(module, {"target", TEXTS, 0, NULL}, {"modules", COUNTS, 0, NULL}, {"r", COUNTS, 0, NULL},
      {"out", COUNTS, 0, NULL}, {"in", COUNTS, 0, NULL}, {"scale", NUMBERS, 0, NULL});
SHAPE(plan, {"name", TEXTS, 0, NULL}, {"sequence_len", COUNTS, 0, NULL},
      {"trained_elements", COUNTS, 0, NULL}, {"worker_bytes", COUNTS, 0, NULL},
      {"coordinator_bytes", COUNTS, 0, NULL});
SHAPE(memory, {"weight_bytes", COUNTS, 0, NULL}, {"plans", OBJECTS, LIST, &plan});
SHAPE(inspect, {"path", TEXTS, 0, NULL}, {"kind", TEXTS, 0, NULL},
      {"parameters", COUNTS, MAYBE, NULL}, {"size_bytes", COUNTS, MAYBE, NULL},
      {"engine_error", TEXTS, MAYBE, NULL}, {"architecture", TEXTS, MAYBE, NULL},
      {"base_model", TEXTS, MAYBE, NULL}, {"num_virtual_tokens", COUNTS, MAYBE, NULL},
      {"adapter", TEXTS, MAYBE, NULL}, {"reduction_factor", COUNTS, MAYBE, NULL},
      {"r", COUNTS, MAYBE, NULL}, {"family", TEXTS, MAYBE, NULL},
      {"positions", COUNTS, MAYBE, NULL}, {"window", COUNTS, MAYBE, NULL},
      {"lora_target_modules", TEXTS, MAYBE, NULL}, {"quant_method", TEXTS, MAYBE, NULL},
      {"layers", COUNTS, MAYBE, NULL}, {"width", COUNTS, MAYBE, NULL},
      {"mlp_width", COUNTS, MAYBE, NULL}, {"heads", COUNTS, MAYBE, NULL},
      {"kv_heads", COUNTS, MAYBE, NULL}, {"head_width", COUNTS, MAYBE, NULL},
      {"vocabulary", COUNTS, MAYBE, NULL}, {"bos_token_id", COUNTS, MAYBE, NULL},
      {"eos_token_id", COUNTS, MAYBE, NULL}, {"pad_token_id", COUNTS, MAYBE, NULL},
      {"unk_token_id", COUNTS, MAYBE, NULL}, {"chat_template", TEXTS, MAYBE, NULL},
      {"tokenizer", TEXTS, MAYBE, NULL}, {"tokens", COUNTS, MAYBE, NULL},
      {"tokenizer_error", TEXTS, MAYBE, NULL}, {"types", OBJECTS, LIST, &type},
      {"tensors", OBJECTS, LIST | MAYBE, &file_tensor}, {"modules", OBJECTS, LIST | MAYBE, &module},
      {"memory", OBJECTS, MAYBE, &memory});

SHAPE(problem, {"line", COUNTS, 0, NULL}, {"text", TEXTS, 0, NULL});
SHAPE(data_set, {"path", TEXTS, 0, NULL}, {"format", TEXTS, 0, NULL}, {"type", TEXTS, 0, NULL},
      {"rows", COUNTS, 0, NULL}, {"bad_rows", COUNTS, 0, NULL}, {"samples", COUNTS, 0, NULL},
      {"tokens", COUNTS, 0, NULL}, {"supervised_tokens", COUNTS, 0, NULL},
      {"truncated_rows", COUNTS, 0, NULL}, {"empty_rows", COUNTS, 0, NULL},
      {"length_min", COUNTS, 0, NULL}, {"length_median", COUNTS, 0, NULL},
      {"length_p99", COUNTS, 0, NULL}, {"length_max", COUNTS, 0, NULL},
      {"problems", OBJECTS, LIST, &problem});
SHAPE(folder, {"folder", TEXTS, 0, NULL}, {"files", COUNTS, 0, NULL},
      {"size_bytes", COUNTS, 0, NULL});
SHAPE(finding, {"check", TEXTS, 0, NULL}, {"found", TEXTS, 0, NULL}, {"verdict", TEXTS, 0, NULL});

static const struct {
    const char *name, *title;
    const struct shape *shape;
    bool is_list;
} outputs[] = {
    {"stats", "qctl stats JOB -o json", &stats, false},
    {"stats-tensor", "qctl stats JOB TENSOR -o json", &tensor, false},
    {"inspect", "qctl inspect -o json", &inspect, false},
    {"data-check", "qctl data check -o json", &data_set, true},
    {"doctor", "qctl doctor -o json", &finding, true},
    {"pull", "qctl pull -o json", &folder, false},
    {"export", "qctl export -o json", &folder, false},
};

const char *output_shape_name(size_t index, const char **title)
{
    if (index >= COUNT_OF(outputs))
        return NULL;
    *title = outputs[index].title;
    return outputs[index].name;
}

/* Ends at shapes without others in them, three deep. */
static void write_shape(struct json_write *w, const struct shape *shape, bool may_be_null);

static void write_value(struct json_write *w, const struct member *member)
{
    static const char *const types[] = {
        [TEXTS] = "string", [COUNTS] = "integer", [NUMBERS] = "number", [FLAGS] = "boolean"};
    bool may_be_null = (member->flags & NULL_TOO) != 0;
    if (member->kind == OBJECTS) {
        write_shape(w, member->shape, may_be_null);
        return;
    }
    json_schema_type(w, types[member->kind], may_be_null);
    if (member->kind == COUNTS) {
        json_write_u64(w, "minimum", 0);
        json_write_u64(w, "maximum", UINT64_MAX);
    }
}

static void begin_list(struct json_write *w)
{
    json_schema_type(w, "array", false);
    json_write_u64(w, "maxItems", UINT32_MAX);
    json_write_object_begin(w, "items");
}

static void write_shape(struct json_write *w, const struct shape *shape, bool may_be_null)
{
    json_schema_type(w, "object", may_be_null);
    json_write_object_begin(w, "properties");
    for (size_t i = 0; i < shape->count; i++) {
        const struct member *member = &shape->members[i];
        bool is_list = (member->flags & LIST) != 0;
        json_write_object_begin(w, member->name);
        if (is_list)
            begin_list(w);
        write_value(w, member);
        if (is_list)
            json_write_object_end(w);
        json_write_object_end(w);
    }
    json_write_object_end(w);
    json_write_array_begin(w, "required");
    for (size_t i = 0; i < shape->count; i++) {
        if ((shape->members[i].flags & MAYBE) == 0)
            json_write_text(w, NULL, text_of(shape->members[i].name));
    }
    json_write_array_end(w);
}

void output_shape_write(struct json_write *w, size_t index)
{
    ASSERT(index < COUNT_OF(outputs));
    if (outputs[index].is_list)
        begin_list(w);
    write_shape(w, outputs[index].shape, false);
    if (outputs[index].is_list)
        json_write_object_end(w);
}
