/* inspect_model.c - see inspect_model.h. */
#include "cli/command/inspect_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/formats/tokenizer/tokenizer_export.h"
#include "worker/engine/nn/family.h"

enum { LINE_BYTES = 512 };

static void say_positions(struct inspect_facts *facts, const struct hf_config *config)
{
    char line[LINE_BYTES], text[HUMAN_BYTES];
    int at = snprintf(line, sizeof line, "%s", human_count(config->max_position_embeddings, text));
    if (config->sliding_window > 0 && config->sliding_window < config->max_position_embeddings)
        at += snprintf(line + at, sizeof line - (size_t)at, ", a window of %s",
                       human_count(config->sliding_window, text));
    if (config->rope.type[0] != '\0' && strcmp(config->rope.type, "default") != 0)
        (void)snprintf(line + at, sizeof line - (size_t)at, ", scaled (%s)", config->rope.type);
    inspect_facts_say(facts, "positions", "%s", line);
    inspect_facts_number(facts, "positions", config->max_position_embeddings);
    if (config->sliding_window > 0)
        inspect_facts_number(facts, "window", config->sliding_window);
}

static void say_targets(struct inspect_facts *facts, const char *targets)
{
    char line[LINE_BYTES];
    size_t at = 0;
    for (const char *c = targets; *c != '\0' && at + 3 < sizeof line; c++) {
        line[at++] = *c;
        if (*c == ',')
            line[at++] = ' ';
    }
    line[at] = '\0';
    inspect_facts_say(facts, "LoRA targets", "%s",
                      at > 0 ? line : "none by default: name them in lora_target_modules");
    inspect_facts_text(facts, "lora_target_modules", text_of(targets));
}

void inspect_model_sizes(struct inspect_facts *facts, const struct hf_config *config,
                         const char **targets)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    const struct family *family = family_of(config);
    *targets = family != NULL ? family->targets : "";
    if (config->architecture[0] != '\0')
        inspect_facts_say(facts, "family", "%s (%s)", config->model_type, config->architecture);
    else
        inspect_facts_say(facts, "family", "%s", config->model_type);
    inspect_facts_text(facts, "family", text_of(config->model_type));
    if (config->quant_method[0] != '\0') {
        inspect_facts_say(facts, "quantized", "by %s", config->quant_method);
        inspect_facts_text(facts, "quant_method", text_of(config->quant_method));
    }
    inspect_facts_say(facts, "layers", "%" PRIu32, config->num_hidden_layers);
    inspect_facts_number(facts, "layers", config->num_hidden_layers);
    inspect_facts_say(facts, "width", "%s, MLP %s", human_count(config->hidden_size, a),
                      human_count(config->intermediate_size, b));
    inspect_facts_number(facts, "width", config->hidden_size);
    inspect_facts_number(facts, "mlp_width", config->intermediate_size);
    inspect_facts_say(facts, "heads",
                      "%" PRIu32 " of width %" PRIu32 ", %" PRIu32 " for keys and values",
                      config->num_attention_heads, config->head_dim, config->num_key_value_heads);
    inspect_facts_number(facts, "heads", config->num_attention_heads);
    inspect_facts_number(facts, "kv_heads", config->num_key_value_heads);
    inspect_facts_number(facts, "head_width", config->head_dim);
    say_positions(facts, config);
    inspect_facts_say(facts, "vocabulary", "%s%s", human_count(config->vocab_size, a),
                      config->tie_word_embeddings ? ", the head is the embedding" : "");
    inspect_facts_number(facts, "vocabulary", config->vocab_size);
    if (family != NULL)
        say_targets(facts, *targets);
}

/* ---- tokenizers ---- */

/* Special ids and how they are spelled. */
static void say_roles(struct inspect_facts *facts, const struct tokenizer *tokenizer)
{
    static const char *const names[] = {"bos", "eos", "pad", "unk"};
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "pad_token_id",
                                       "unk_token_id"};
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    const uint32_t ids[] = {roles.bos, roles.eos, roles.pad, roles.unk};
    char line[LINE_BYTES] = "";
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(ids) && at < sizeof line; i++) {
        struct text token = tokenizer_token(tokenizer, ids[i]);
        if (ids[i] == TOKENIZER_NONE)
            continue;
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%s %" PRIu32 " %.*s",
                               at > 0 ? ", " : "", names[i], ids[i],
                               (int)MIN(token.size, (size_t)64), token.size > 0 ? token.data : "");
        inspect_facts_number(facts, keys[i], ids[i]);
    }
    inspect_facts_say(facts, "special ids", "%s", at > 0 ? line : "none");
}

static void say_template(struct inspect_facts *facts, struct text jinja)
{
    const struct chat_template *known = NULL;
    if (jinja.size > 0)
        known = chat_template_recognise(jinja);
    const char *name = known != NULL    ? chat_template_name(known)
                       : jinja.size > 0 ? "unknown"
                                        : "none";
    inspect_facts_text(facts, "chat_template", text_of(name));
    if (known != NULL)
        inspect_facts_say(facts, "chat template", "%s", name);
    else if (jinja.size > 0)
        inspect_facts_say(facts, "chat template",
                          "unknown: a recipe has to name one in chat_template");
    else
        inspect_facts_say(facts, "chat template", "none");
}

/* The kind, as GGUF names it where it can; "another" otherwise. */
static const char *kind_of(const struct tokenizer *tokenizer)
{
    static const struct {
        const char *model;
        const char *kind;
    } kinds[] = {
        {"llama", "SentencePiece BPE"},
        {"gpt2", "byte-level BPE"},
        {"t5", "SentencePiece Unigram"},
    };
    struct arena arena;
    struct tokenizer_export exported;
    const char *kind = "of a kind without a name";
    arena_init(&arena, SIZE_MAX);
    if (tokenizer_export_make(tokenizer, &arena, &exported, NULL) == ERR_OK)
        for (size_t i = 0; i < COUNT_OF(kinds); i++)
            if (strcmp(exported.model, kinds[i].model) == 0)
                kind = kinds[i].kind;
    arena_fini(&arena);
    return kind;
}

static void say_tokenizer(struct inspect_facts *facts, const struct tokenizer *tokenizer)
{
    char text[HUMAN_BYTES];
    uint32_t size = tokenizer_vocabulary_size(tokenizer);
    const char *kind = kind_of(tokenizer);
    inspect_facts_say(facts, "tokenizer", "%s, %s tokens", kind, human_count(size, text));
    inspect_facts_text(facts, "tokenizer", text_of(kind));
    inspect_facts_number(facts, "tokens", size);
    say_roles(facts, tokenizer);
    say_template(facts, tokenizer_chat_template(tokenizer));
}

static void take_tokenizer(struct inspect_facts *facts, enum err err, const struct err_text *why,
                           struct tokenizer *tokenizer, bool optional)
{
    if (err == ERR_OK) {
        say_tokenizer(facts, tokenizer);
        tokenizer_close(&tokenizer);
    } else if (err != ERR_NOT_FOUND) {
        inspect_facts_say(facts, "tokenizer", "cannot be read: %s", why->text);
        inspect_facts_text(facts, "tokenizer_error", text_of(why->text));
    } else if (!optional) {
        inspect_facts_say(facts, "tokenizer", "none");
    }
}

void inspect_model_tokenizer(struct inspect_facts *facts, const char *folder, bool optional)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text why = {{0}};
    enum err err = tokenizer_open(folder, &tokenizer, &why);
    take_tokenizer(facts, err, &why, tokenizer, optional);
}

void inspect_model_vocabulary(struct inspect_facts *facts, const struct gguf *gguf)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text why = {{0}};
    enum err err = tokenizer_open_gguf(gguf, &tokenizer, &why);
    take_tokenizer(facts, err, &why, tokenizer, false);
}
