/* cmd_inspect.c - `qctl inspect PATH`: what a model, a file of weights or an adapter is, without a
 * fleet and without reading the weights. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/inspect_adapter.h"
#include "cli/command/inspect_memory.h"
#include "cli/command/inspect_model.h"
#include "cli/command/inspect_tensors.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/gguf/gguf_config.h"
#include "common/formats/safetensors/safetensors_index.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "worker/engine/nn/model.h"

enum { ARENA_BYTES_MAX = 1 << 16, JSON_BYTES_MAX = 256 << 20, NOTES_SHOWN = 8 };

/* What was opened, and what is to be said of it. */
struct inspection {
    const char *path;
    const char *kind; /* "a Hugging Face model"; static */
    const char *word; /* the same for programs: "model" */
    struct safetensors safetensors;
    struct gguf gguf;
    struct peft_adapter peft;
    struct peft_insert insert;
    struct hf_config *config; /* owned */
    struct model *model;      /* owned: NULL when the engine has no plan for it */
    struct inspect_facts facts;
    struct inspect_tensors tensors;
    struct inspect_adapter adapter;
    struct inspect_memory memory;
    struct arena arena;
};

/* Packed weights are more than the elements they lie in, so a model that is understood counts. */
static void say_parameters(struct inspection *in, size_t file_count)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    char files[48] = "";
    uint64_t count = in->model != NULL ? model_element_count(in->model) : in->tensors.element_count;
    if (file_count > 1)
        (void)snprintf(files, sizeof files, " in %zu files", file_count);
    inspect_facts_say(&in->facts, "parameters", "%s in %zu tensors, %s%s", human_count(count, a),
                      in->tensors.count, human_size(in->tensors.size_bytes, b), files);
    inspect_facts_number(&in->facts, "parameters", count);
    inspect_facts_number(&in->facts, "size_bytes", in->tensors.size_bytes);
}

/* Of an element of weights that are not here. */
static uint64_t assumed_bytes(const struct hf_config *config)
{
    return strstr(config->dtype, "float16") != NULL ? 2 : 4;
}

/* What recipes need, or why there are none: a model that the engine does not run is no fault of
 * the file. */
static enum err plan(struct inspection *in, enum err err, const struct err_text *why,
                     const char *targets, struct err_text *et)
{
    if (err == ERR_UNSUPPORTED) {
        inspect_facts_say(&in->facts, "engine", "cannot run it: %s", why->text);
        inspect_facts_text(&in->facts, "engine_error", text_of(why->text));
        return ERR_OK;
    }
    if (err != ERR_OK)
        return error_set(et, err, "%s", why->text);
    uint64_t bytes = in->tensors.size_bytes;
    if (in->tensors.count == 0)
        bytes = model_element_count(in->model) * assumed_bytes(in->config);
    return inspect_memory_plan(in->model, targets, bytes, &in->memory, et);
}

/* With its weights in place of the outline: whether they are all there, in the right shapes. */
static enum err reopen(struct inspection *in, struct err_text *why)
{
    model_destroy(&in->model);
    return model_open(in->path, &in->model, why);
}

static enum err inspect_model_folder(struct inspection *in, struct err_text *et)
{
    const char *config = folder_join(&in->arena, in->path, "config.json");
    const char *single = folder_join(&in->arena, in->path, "model.safetensors");
    const char *index = folder_join(&in->arena, in->path, "model.safetensors.index.json");
    const char *targets;
    struct err_text why = {{0}};
    if (config == NULL || single == NULL || index == NULL)
        return ERR_OUT_OF_MEMORY;
    in->kind = "a Hugging Face model";
    in->word = "model";
    TRY(hf_config_open(in->config, config, et));
    enum err err = model_create_outline(in->config, &in->model, &why);
    bool weighed = file_exists(single) || file_exists(index);
    if (weighed) {
        TRY(safetensors_index_open_folder(&in->safetensors, in->path, "model", et));
        TRY(inspect_tensors_of_safetensors(&in->safetensors, &in->tensors));
        say_parameters(in, in->safetensors.shard_count);
    } else {
        inspect_facts_say(&in->facts, "weights", "none here, counted below as %u bytes each",
                          (unsigned)assumed_bytes(in->config));
    }
    inspect_model_sizes(&in->facts, in->config, &targets);
    inspect_model_tokenizer(&in->facts, in->path, false);
    if (weighed && err == ERR_OK)
        err = reopen(in, &why);
    return plan(in, err, &why, targets, et);
}

static enum err inspect_insert_folder(struct inspection *in, struct err_text *et)
{
    TRY(peft_insert_open(&in->insert, in->path, et));
    bool prompt = in->insert.config.kind == PEFT_INSERT_PROMPT;
    in->kind = prompt ? "a tuned prompt of PEFT" : "bottleneck adapters";
    in->word = "adapter";
    TRY(inspect_tensors_of_safetensors(&in->insert.weights, &in->tensors));
    say_parameters(in, 1);
    inspect_adapter_of_insert(&in->insert.config, &in->facts);
    inspect_model_tokenizer(&in->facts, in->path, true);
    return ERR_OK;
}

static enum err inspect_adapter_folder(struct inspection *in, struct err_text *et)
{
    bool inserts = false;
    TRY(peft_insert_probe(in->path, &inserts, et));
    if (inserts)
        return inspect_insert_folder(in, et);
    in->kind = "a LoRA adapter of PEFT";
    in->word = "adapter";
    TRY(peft_adapter_open(&in->peft, in->path, et));
    TRY(inspect_tensors_of_safetensors(&in->peft.weights, &in->tensors));
    say_parameters(in, 1);
    inspect_adapter_of_peft(&in->peft, &in->facts, &in->adapter);
    inspect_model_tokenizer(&in->facts, in->path, true);
    return ERR_OK;
}

static enum err inspect_safetensors(struct inspection *in, struct err_text *et)
{
    in->kind = "a file of safetensors";
    in->word = "safetensors";
    TRY(safetensors_open(&in->safetensors, in->path, et));
    TRY(inspect_tensors_of_safetensors(&in->safetensors, &in->tensors));
    say_parameters(in, 1);
    for (size_t i = 0; i < MIN(in->safetensors.note_count, (size_t)NOTES_SHOWN); i++)
        inspect_facts_say(&in->facts, i == 0 ? "metadata" : "", "%.*s: %.*s",
                          TEXT_ARGS(in->safetensors.notes[i].key),
                          (int)MIN(in->safetensors.notes[i].value.size, (size_t)80),
                          in->safetensors.notes[i].value.data);
    return ERR_OK;
}

static enum err inspect_gguf_model(struct inspection *in, struct err_text *et)
{
    struct err_text why = {{0}};
    struct text arch = TEXT(""), title = TEXT("");
    const char *targets = "";
    in->kind = "a GGUF model";
    in->word = "gguf";
    TRY(gguf_opt_text(&in->gguf, "general.architecture", &arch, NULL, et));
    TRY(gguf_opt_text(&in->gguf, "general.name", &title, NULL, et));
    if (title.size > 0)
        inspect_facts_say(&in->facts, "name", "%.*s", TEXT_ARGS(title));
    enum err err = gguf_config_read(&in->gguf, in->config, &why);
    bool known = err == ERR_OK;
    if (known)
        err = model_create_outline(in->config, &in->model, &why);
    if (in->tensors.count > 0)
        say_parameters(in, in->gguf.part_count + 1);
    else
        inspect_facts_say(&in->facts, "weights", "none: a vocabulary alone");
    if (arch.size > 0) {
        inspect_facts_say(&in->facts, "architecture", "%.*s, %zu keys", TEXT_ARGS(arch),
                          in->gguf.value_count);
        inspect_facts_text(&in->facts, "architecture", arch);
    } else {
        inspect_facts_say(&in->facts, "architecture", "not named (general.architecture), %zu keys",
                          in->gguf.value_count);
    }
    if (known)
        inspect_model_sizes(&in->facts, in->config, &targets);
    inspect_model_vocabulary(&in->facts, &in->gguf);
    if (in->tensors.count == 0)
        return ERR_OK;
    if (err == ERR_OK)
        err = reopen(in, &why);
    return plan(in, err, &why, targets, et);
}

static enum err inspect_gguf(struct inspection *in, struct err_text *et)
{
    struct text type = TEXT("");
    TRY(gguf_open(&in->gguf, in->path, et));
    TRY(inspect_tensors_of_gguf(&in->gguf, &in->tensors));
    TRY(gguf_opt_text(&in->gguf, "general.type", &type, NULL, et));
    if (!text_is(type, "adapter"))
        return inspect_gguf_model(in, et);
    in->kind = "a LoRA adapter in GGUF";
    in->word = "adapter";
    say_parameters(in, in->gguf.part_count + 1);
    return inspect_adapter_of_gguf(&in->gguf, &in->facts, &in->adapter, et);
}

static bool ends_in(const char *path, const char *end)
{
    size_t size = strlen(path), end_size = strlen(end);
    return size >= end_size && strcmp(path + size - end_size, end) == 0;
}

/* A file is what its first bytes say, where they say it; else what its name says. */
static enum err inspect_file(struct inspection *in, struct err_text *et)
{
    struct source source = {0};
    TRY(source_open(&source, in->path, et));
    bool is_gguf = gguf_recognise(source.bytes);
    bool is_safetensors = source.bytes.size > 8 && source.bytes.data[8] == '{';
    source_close(&source);
    if (is_gguf || ends_in(in->path, ".gguf"))
        return inspect_gguf(in, et);
    if (is_safetensors || ends_in(in->path, ".safetensors"))
        return inspect_safetensors(in, et);
    return error_set(et, ERR_FORMAT,
                     "%s: expected a GGUF or safetensors file, or the folder of a model or an "
                     "adapter",
                     in->path);
}

static enum err inspect(struct inspection *in, struct err_text *et)
{
    if (!folder_exists(in->path))
        return inspect_file(in, et);
    const char *adapter = folder_join(&in->arena, in->path, PEFT_ADAPTER_CONFIG_FILE);
    const char *config = folder_join(&in->arena, in->path, "config.json");
    if (adapter == NULL || config == NULL)
        return ERR_OUT_OF_MEMORY;
    if (file_exists(adapter))
        return inspect_adapter_folder(in, et);
    if (file_exists(config))
        return inspect_model_folder(in, et);
    inspect_model_tokenizer(&in->facts, in->path, true);
    in->kind = "a tokenizer";
    in->word = "tokenizer";
    if (in->facts.count > 0)
        return ERR_OK;
    return error_set(et, ERR_NOT_FOUND,
                     "%s: expected config.json (a model), " PEFT_ADAPTER_CONFIG_FILE
                     " (an adapter) or a tokenizer, found none of them",
                     in->path);
}

static enum err print(const struct inspection *in, struct invocation *invocation)
{
    bool all = command_flag(invocation, "tensors");
    (void)fprintf(invocation->out, "%s: %s\n\n", in->path, in->kind);
    TRY(inspect_facts_print(&in->facts, invocation));
    if (in->tensors.count > 0) {
        (void)fputc('\n', invocation->out);
        TRY(all ? inspect_tensors_print_all(&in->tensors, invocation)
                : inspect_tensors_print_types(&in->tensors, invocation));
    }
    if (in->adapter.count > 0) {
        (void)fputc('\n', invocation->out);
        TRY(inspect_adapter_print(&in->adapter, invocation));
    }
    if (in->memory.row_count > 0) {
        (void)fputc('\n', invocation->out);
        TRY(inspect_memory_print(&in->memory, invocation));
    }
    return ERR_OK;
}

static enum err write_json(const struct inspection *in, struct invocation *invocation)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, JSON_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "path", text_of(in->path));
    json_write_text(&w, "kind", text_of(in->word));
    enum err err = inspect_facts_write(&in->facts, &w);
    inspect_tensors_write(&in->tensors, command_flag(invocation, "tensors"), &w);
    if (in->adapter.count > 0)
        inspect_adapter_write(&in->adapter, &w);
    if (in->memory.row_count > 0)
        inspect_memory_write(&in->memory, &w);
    json_write_object_end(&w);
    if (err == ERR_OK)
        return command_print_json(invocation, &w);
    json_write_fini(&w);
    return err;
}

static void inspection_fini(struct inspection *in)
{
    inspect_tensors_fini(&in->tensors);
    inspect_facts_fini(&in->facts);
    model_destroy(&in->model);
    mem_free(in->config);
    peft_adapter_close(&in->peft);
    peft_insert_close(&in->insert);
    gguf_close(&in->gguf);
    safetensors_close(&in->safetensors);
    arena_fini(&in->arena);
}

enum err cmd_inspect(struct invocation *invocation, struct err_text *et)
{
    struct inspection *in = mem_alloc(1, sizeof *in);
    if (in == NULL)
        return ERR_OUT_OF_MEMORY;
    in->path = invocation->arguments[0];
    arena_init(&in->arena, ARENA_BYTES_MAX);
    inspect_facts_init(&in->facts);
    in->config = mem_alloc(1, sizeof *in->config);
    enum err err = in->config != NULL ? inspect(in, et) : ERR_OUT_OF_MEMORY;
    if (err == ERR_OK)
        err = invocation->json ? write_json(in, invocation) : print(in, invocation);
    inspection_fini(in);
    mem_free(in);
    return err;
}
