/* compressed_config.c - the object read key by key, written complete, and layers found in it. */
#include "common/formats/compressed_tensors/compressed_config.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"

static const char *const strategy_names[] = {"tensor", "channel", "group", "block"};

/* ---- writing ---- */

static void print_weights(struct json_write *w, const struct quant_scheme *s)
{
    json_write_object_begin(w, "weights");
    json_write_i64(w, "num_bits", s->bits);
    json_write_text(w, "type", TEXT("int"));
    json_write_bool(w, "symmetric", s->symmetric);
    json_write_text(w, "strategy", text_of(strategy_names[s->strategy]));
    json_write_bool(w, "dynamic", false);
    if (s->strategy == QUANT_SCHEME_GROUP)
        json_write_i64(w, "group_size", s->group_size);
    else
        json_write_null(w, "group_size");
    if (s->strategy == QUANT_SCHEME_BLOCK) {
        json_write_array_begin(w, "block_structure");
        json_write_i64(w, NULL, s->block_rows);
        json_write_i64(w, NULL, s->group_size);
        json_write_array_end(w);
    }
    json_write_object_end(w);
}

static void print_input(struct json_write *w, const struct quant_scheme *s)
{
    if (s->input == QUANT_SCHEME_INPUT_PLAIN) {
        json_write_null(w, "input_activations");
        return;
    }
    bool token = s->input == QUANT_SCHEME_INPUT_TOKEN;
    json_write_object_begin(w, "input_activations");
    json_write_i64(w, "num_bits", 8);
    json_write_text(w, "type", TEXT("int"));
    json_write_bool(w, "symmetric", true);
    json_write_text(w, "strategy", token ? TEXT("token") : TEXT("tensor"));
    json_write_bool(w, "dynamic", token);
    json_write_null(w, "group_size");
    json_write_object_end(w);
}

static void print_texts(struct json_write *w, const char *key, const struct text *texts,
                        size_t count)
{
    json_write_array_begin(w, key);
    for (size_t i = 0; i < count; i++)
        json_write_text(w, NULL, texts[i]);
    json_write_array_end(w);
}

/* The one layout of all groups, or "mixed-precision". */
static const char *format_of(const struct compressed_config *config)
{
    for (size_t i = 1; i < config->group_count; i++) {
        if (config->groups[i].scheme.layout != config->groups[0].scheme.layout)
            return "mixed-precision";
    }
    return quant_scheme_layout_name(config->groups[0].scheme.layout);
}

enum err compressed_config_print(const struct compressed_config *config, struct bytes *out)
{
    struct json_write w;
    ASSERT(config->group_count > 0);
    json_write_init(&w, JSON_WRITE_PRETTY, SIZE_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "quant_method", TEXT("compressed-tensors"));
    json_write_text(&w, "format", text_of(format_of(config)));
    json_write_text(&w, "quantization_status", TEXT("compressed"));
    json_write_null(&w, "kv_cache_scheme");
    json_write_null(&w, "global_compression_ratio");
    print_texts(&w, "ignore", config->ignore, config->ignore_count);
    json_write_object_begin(&w, "config_groups");
    for (size_t i = 0; i < config->group_count; i++) {
        const struct compressed_config_group *group = &config->groups[i];
        char name[32];
        (void)snprintf(name, sizeof name, "group_%zu", i);
        json_write_object_begin(&w, name);
        json_write_text(&w, "format", text_of(quant_scheme_layout_name(group->scheme.layout)));
        print_texts(&w, "targets", group->targets, group->target_count);
        print_weights(&w, &group->scheme);
        print_input(&w, &group->scheme);
        json_write_null(&w, "output_activations");
        json_write_object_end(&w);
    }
    json_write_object_end(&w);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

/* ---- reading ---- */

/* ERR_UNSUPPORTED with the value's place. */
static enum err unsupported(struct json_value value, const char *expected, struct err_text *et)
{
    (void)json_read_wrong(value, expected, et);
    return ERR_UNSUPPORTED;
}

/* Members that must be missing or null (or empty: {} and []). */
static enum err check_absent(struct json_value object, const char *key, struct err_text *et)
{
    struct json_value value = json_read_find(object, key);
    if (json_read_is_absent(value) || json_read_type(value) == JSON_READ_NULL)
        return ERR_OK;
    bool list =
        json_read_type(value) == JSON_READ_OBJECT || json_read_type(value) == JSON_READ_ARRAY;
    if (list && json_read_count(value) == 0)
        return ERR_OK;
    return unsupported(value, "null, for nothing else is supported", et);
}

static enum err check_int(struct json_value object, struct err_text *et)
{
    struct text type = TEXT("int");
    TRY(json_read_opt_text(object, "type", &type, NULL, et));
    if (!text_is(type, "int"))
        return unsupported(json_read_find(object, "type"), "\"int\"", et);
    return ERR_OK;
}

static enum err read_blocks(struct json_value object, struct quant_scheme *s, struct err_text *et)
{
    struct json_value list;
    int64_t rows = 0, columns = 0;
    TRY(json_read_array(object, "block_structure", &list, et));
    if (json_read_count(list) != 2)
        return json_read_wrong(list, "two sizes", et);
    TRY(json_read_as_i64(json_read_item(list, 0), 1, UINT32_MAX, &rows, et));
    TRY(json_read_as_i64(json_read_item(list, 1), 1, UINT32_MAX, &columns, et));
    s->block_rows = (uint32_t)rows;
    s->group_size = (uint32_t)columns;
    return ERR_OK;
}

/* What a file leaves out follows from group_size: absent TENSOR, -1 CHANNEL, else GROUP. */
static enum err read_strategy(struct json_value object, struct quant_scheme *s, struct err_text *et)
{
    struct text name = {NULL, 0};
    int64_t group_size = 0;
    bool has_group = false, has_name = false;
    TRY(json_read_opt_i64(object, "group_size", -1, UINT32_MAX, &group_size, &has_group, et));
    TRY(json_read_opt_text(object, "strategy", &name, &has_name, et));
    if (!has_name)
        name = !has_group ? TEXT("tensor") : group_size < 0 ? TEXT("channel") : TEXT("group");
    size_t i = 0;
    while (i < COUNT_OF(strategy_names) && !text_is(name, strategy_names[i]))
        i++;
    if (i == COUNT_OF(strategy_names))
        return unsupported(json_read_find(object, "strategy"),
                           "\"tensor\", \"channel\", \"group\" or \"block\"", et);
    s->strategy = (enum quant_scheme_strategy)i;
    if (s->strategy == QUANT_SCHEME_BLOCK)
        return read_blocks(object, s, et);
    if (s->strategy == QUANT_SCHEME_GROUP) {
        if (group_size <= 0)
            return json_read_wrong(json_read_find(object, "group_size"), "a size above 0", et);
        s->group_size = (uint32_t)group_size;
    }
    return ERR_OK;
}

static enum err read_weights(struct json_value object, struct quant_scheme *s, struct err_text *et)
{
    int64_t bits = 8;
    bool dynamic = false;
    TRY(check_int(object, et));
    TRY(json_read_opt_i64(object, "num_bits", 1, 64, &bits, NULL, et));
    if (bits < QUANT_SCHEME_BITS_MIN || bits > QUANT_SCHEME_BITS_MAX)
        return unsupported(json_read_find(object, "num_bits"), "2 to 8", et);
    s->bits = (unsigned)bits;
    s->symmetric = true;
    TRY(json_read_opt_bool(object, "symmetric", &s->symmetric, NULL, et));
    TRY(json_read_opt_bool(object, "dynamic", &dynamic, NULL, et));
    if (dynamic)
        return unsupported(json_read_find(object, "dynamic"), "false", et);
    return read_strategy(object, s, et);
}

static enum err read_input(struct json_value object, struct quant_scheme *s, struct err_text *et)
{
    int64_t bits = 8;
    bool dynamic = false, symmetric = true;
    struct text strategy = TEXT("tensor");
    TRY(check_int(object, et));
    TRY(json_read_opt_i64(object, "num_bits", 1, 64, &bits, NULL, et));
    TRY(json_read_opt_bool(object, "symmetric", &symmetric, NULL, et));
    TRY(json_read_opt_bool(object, "dynamic", &dynamic, NULL, et));
    TRY(json_read_opt_text(object, "strategy", &strategy, NULL, et));
    if (bits != 8)
        return unsupported(json_read_find(object, "num_bits"), "8", et);
    if (!symmetric)
        return unsupported(json_read_find(object, "symmetric"), "true", et);
    if (!text_is(strategy, dynamic ? "token" : "tensor"))
        return unsupported(json_read_find(object, "strategy"),
                           "\"token\" with dynamic, \"tensor\" without", et);
    s->input = dynamic ? QUANT_SCHEME_INPUT_TOKEN : QUANT_SCHEME_INPUT_STATIC;
    return ERR_OK;
}

static enum err read_format(struct json_value object, enum quant_scheme_layout *layout,
                            struct err_text *et)
{
    struct text name = {NULL, 0};
    TRY(json_read_text(object, "format", &name, et));
    for (unsigned i = QUANT_SCHEME_INT; i <= QUANT_SCHEME_PACKED; i++) {
        if (text_is(name, quant_scheme_layout_name((enum quant_scheme_layout)i))) {
            *layout = (enum quant_scheme_layout)i;
            return ERR_OK;
        }
    }
    return unsupported(json_read_find(object, "format"), "\"int-quantized\" or \"pack-quantized\"",
                       et);
}

static enum err read_texts(struct json_value list, struct arena *arena, const struct text **texts,
                           size_t *count, struct err_text *et)
{
    size_t size = json_read_count(list);
    struct text *out = arena_alloc(arena, size, sizeof *out);
    if (out == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < size; i++) {
        struct text text = {NULL, 0};
        TRY(json_read_as_text(json_read_item(list, i), &text, et));
        const char *copy = arena_copy_text(arena, text);
        if (copy == NULL)
            return ERR_OUT_OF_MEMORY;
        out[i] = text_of(copy);
    }
    *texts = out;
    *count = size;
    return ERR_OK;
}

/* `whole` is the format of the file, which a group of its own may differ from. */
static enum err read_group(struct json_value object, struct json_value whole, struct arena *arena,
                           struct compressed_config_group *out, struct err_text *et)
{
    struct compressed_config_group group = {.targets = NULL};
    struct json_value value, own = json_read_find(object, "format");
    bool found = false;
    bool has_format = !json_read_is_absent(own) && json_read_type(own) != JSON_READ_NULL;
    TRY(read_format(has_format ? object : whole, &group.scheme.layout, et));
    TRY(json_read_object(object, "weights", &value, et));
    TRY(read_weights(value, &group.scheme, et));
    TRY(json_read_opt_object(object, "input_activations", &value, &found, et));
    if (found)
        TRY(read_input(value, &group.scheme, et));
    TRY(check_absent(object, "output_activations", et));
    TRY(json_read_array(object, "targets", &value, et));
    TRY(read_texts(value, arena, &group.targets, &group.target_count, et));
    *out = group;
    return ERR_OK;
}

enum err compressed_config_read(struct json_value object, struct arena *arena,
                                struct compressed_config *config, struct err_text *et)
{
    static const char *const absent[] = {"kv_cache_scheme", "transform_config"};
    struct compressed_config made = {.groups = NULL};
    struct compressed_config_group *groups = NULL;
    struct json_value list;
    struct text status = TEXT("compressed");
    bool found = false;
    for (size_t i = 0; i < COUNT_OF(absent); i++)
        TRY(check_absent(object, absent[i], et));
    TRY(json_read_opt_text(object, "quantization_status", &status, NULL, et));
    if (!text_is(status, "compressed") && !text_is(status, "frozen"))
        return unsupported(json_read_find(object, "quantization_status"), "\"compressed\"", et);
    TRY(json_read_opt_array(object, "ignore", &list, &found, et));
    if (found)
        TRY(read_texts(list, arena, &made.ignore, &made.ignore_count, et));
    TRY(json_read_object(object, "config_groups", &list, et));
    if (json_read_count(list) == 0 || json_read_count(list) > COMPRESSED_CONFIG_GROUPS_MAX)
        return json_read_wrong(list, "one to 1024 groups", et);
    groups = arena_alloc(arena, json_read_count(list), sizeof *groups);
    if (groups == NULL)
        return ERR_OUT_OF_MEMORY;
    struct json_cursor cursor = {0};
    while (json_read_next(list, &cursor))
        TRY(read_group(cursor.value, object, arena, &groups[made.group_count++], et));
    made.groups = groups;
    *config = made;
    return ERR_OK;
}

/* ---- finding ---- */

/* Whether a regular expression matches from the start of the name. */
static enum err matches_pattern(const char *pattern, const char *module, bool *out,
                                struct err_text *et)
{
    char anchored[1024];
    regex_t compiled;
    int size = snprintf(anchored, sizeof anchored, "^(%s)", pattern);
    if (strchr(pattern, '{') != NULL) /* a few bytes of them can ask for gigabytes */
        return error_set(et, ERR_UNSUPPORTED,
                         "quantization_config: the pattern %.200s counts repetitions; only *, + "
                         "and ? are supported",
                         pattern);
    if (size < 0 || (size_t)size >= sizeof anchored)
        return error_set(et, ERR_LIMIT, "quantization_config: the pattern %.40s... is too long",
                         pattern);
    int code = regcomp(&compiled, anchored, REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        char why[128];
        (void)regerror(code, &compiled, why, sizeof why);
        return error_set(et, ERR_UNSUPPORTED,
                         "quantization_config: the pattern %s is not a POSIX extended regular "
                         "expression: %s",
                         pattern, why);
    }
    *out = regexec(&compiled, module, 0, NULL, 0) == 0;
    regfree(&compiled);
    return ERR_OK;
}

static enum err matches(const struct text *targets, size_t count, const char *module, bool *out,
                        struct err_text *et)
{
    *out = false;
    for (size_t i = 0; i < count && !*out; i++) {
        const char *target = targets[i].data;
        if (strncmp(target, "re:", 3) == 0)
            TRY(matches_pattern(target + 3, module, out, et));
        else
            *out = strcmp(target, "Linear") == 0 || strcmp(target, module) == 0;
    }
    return ERR_OK;
}

enum err compressed_config_find(const struct compressed_config *config, const char *module,
                                const struct compressed_config_group **out, struct err_text *et)
{
    bool is = false;
    *out = NULL;
    TRY(matches(config->ignore, config->ignore_count, module, &is, et));
    for (size_t i = 0; i < config->group_count && !is; i++) {
        bool here = false;
        TRY(matches(config->groups[i].targets, config->groups[i].target_count, module, &here, et));
        if (here) {
            *out = &config->groups[i];
            return ERR_OK;
        }
    }
    return ERR_OK;
}
