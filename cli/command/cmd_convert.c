/* cmd_convert.c - `qctl convert IN OUT`: a model folder becomes a GGUF file, a GGUF file a model
 * folder or another GGUF file, a PEFT adapter a GGUF adapter. Which, follows from what IN is and
 * what OUT is called. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/quantizing.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/convert/convert_adapter.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/source/folder.h"
#include "worker/task/task_encoder.h"

enum { PATH_ARENA_BYTES = 1 << 16, JSON_BYTES_MAX = 1 << 16 };

/* A plain type, or none: then it is for quantizing. */
static bool read_type(const struct invocation *invocation, enum block_format *out)
{
    static const struct {
        const char *name;
        enum block_format format;
    } types[] = {
        {"keep", CONVERT_PLAN_KEEP},
        {"f32", BLOCK_FORMAT_F32},
        {"f16", BLOCK_FORMAT_F16},
        {"bf16", BLOCK_FORMAT_BF16},
    };
    const char *type = command_text(invocation, "type");
    *out = CONVERT_PLAN_KEEP;
    for (size_t i = 0; type != NULL && i < COUNT_OF(types); i++) {
        if (strcmp(types[i].name, type) == 0) {
            *out = types[i].format;
            return true;
        }
    }
    return type == NULL;
}

/* The last name of a path, without slashes at its end. */
static struct text last_name(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    return (struct text){path + begin, end - begin};
}

static bool is_gguf_name(const char *path)
{
    static const char ending[] = ".gguf";
    size_t size = strlen(path);
    return size >= sizeof ending && strcmp(path + size - (sizeof ending - 1), ending) == 0;
}

/* Converts by what IN is; *what says it in words. */
static enum err convert(const struct invocation *invocation,
                        const struct convert_model_options *options,
                        struct convert_model_report *report, const char **what, struct err_text *et)
{
    const char *in = invocation->arguments[0];
    const char *out = invocation->arguments[1];
    const char *base = command_text(invocation, "base");
    char adapter[4096];
    int size = snprintf(adapter, sizeof adapter, "%s/" PEFT_ADAPTER_CONFIG_FILE, in);
    bool is_adapter = size > 0 && (size_t)size < sizeof adapter && file_exists(adapter);
    if (base != NULL && !is_adapter)
        return error_set(et, ERR_USAGE,
                         "--base: %s is no adapter (no " PEFT_ADAPTER_CONFIG_FILE ")", in);
    if (is_adapter && base == NULL)
        return error_set(et, ERR_USAGE,
                         "%s: expected --base MODEL: the model that the adapter is for", in);
    if (!folder_exists(in) && !file_exists(in))
        return error_set(et, ERR_NOT_FOUND, "%s: no such file or folder", in);
    if (folder_exists(in) && !is_gguf_name(out))
        return error_set(et, ERR_USAGE, "%s: expected the name of a file that ends in .gguf", out);
    *what = is_adapter ? "GGUF adapter" : is_gguf_name(out) ? "GGUF model" : "model folder";
    if (options->quantize != NULL && (is_adapter || !is_gguf_name(out)))
        return error_set(et, ERR_USAGE, "--type %s: %s becomes a %s, which is not made of blocks",
                         convert_mix_name(options->quantize->mix), in, *what);
    if (is_adapter)
        return convert_adapter_to_gguf(in, base, out, options, report, et);
    if (is_gguf_name(out))
        return convert_model_to_gguf(in, out, options, report, et);
    return convert_model_to_hf(in, out, options, report, et);
}

/* A model without a tokenizer is whole, but nobody can talk to it. */
static void warn_of_tokenizer(const struct invocation *invocation, const char *what,
                              const struct convert_model_report *report)
{
    if (!report->has_tokenizer && strcmp(what, "GGUF adapter") != 0)
        (void)fprintf(invocation->messages,
                      "%s: no tokenizer in it, for %s has none; it takes token ids alone\n",
                      invocation->arguments[1], invocation->arguments[0]);
}

static enum err print_json(struct invocation *invocation, const char *what,
                           const struct convert_model_report *report)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_COMPACT, JSON_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "path", text_of(invocation->arguments[1]));
    json_write_text(&w, "kind", text_of(what));
    json_write_text(&w, "architecture", text_of(report->architecture));
    json_write_u64(&w, "tensors", report->tensor_count);
    json_write_u64(&w, "size_bytes", report->size_bytes);
    json_write_bool(&w, "tokenizer", report->has_tokenizer);
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

/* With --type and its switches read; *q holds what a mix needs. */
static enum err run(struct invocation *invocation, struct quantizing *q,
                    struct convert_model_report *report, const char **what, struct err_text *et)
{
    const char *name = command_text(invocation, "name");
    const char *which = NULL;
    char given[256];
    struct convert_model_options options = {.decode = task_encoder_decode};
    if (!read_type(invocation, &options.format)) {
        TRY(quantizing_open(q, invocation, et));
        options.quantize = &q->quantize;
    } else if (quantizing_is_asked(invocation, &which)) {
        return error_set(et, ERR_USAGE, "--%s: expected --type with blocks (Q4_K_M, ...) beside it",
                         which);
    }
    (void)snprintf(given, sizeof given, "%.*s", TEXT_ARGS(last_name(invocation->arguments[0])));
    options.name = name != NULL || !folder_exists(invocation->arguments[0]) ? name : given;
    return convert(invocation, &options, report, what, et);
}

enum err cmd_convert(struct invocation *invocation, struct err_text *et)
{
    const char *out = invocation->arguments[1];
    const char *what = "";
    struct quantizing q = {0};
    struct convert_model_report report = {0};
    char size[HUMAN_BYTES];
    if (folder_exists(out) || file_exists(out))
        return error_set(et, ERR_EXISTS, "%s: exists already; name a new one", out);
    enum err err = run(invocation, &q, &report, &what, et);
    quantizing_close(&q);
    if (err != ERR_OK)
        return err;
    warn_of_tokenizer(invocation, what, &report);
    if (invocation->json)
        return print_json(invocation, what, &report);
    (void)fprintf(invocation->messages, "%s: a %s of architecture %s, %zu tensors, %s\n", out, what,
                  report.architecture, report.tensor_count, human_size(report.size_bytes, size));
    return ERR_OK;
}
