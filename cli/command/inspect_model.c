/* inspect_model.c - see inspect_model.h. */
#include "cli/command/inspect_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "worker/engine/nn/family.h"

enum { LINE_BYTES = 512 };

#define NO_ID UINT64_MAX

static void say_positions(struct inspect_facts *facts, const struct hf_config *config)
{
    char line[LINE_BYTES], text[HUMAN_BYTES];
    int at = snprintf(line, sizeof line, "%s", human_count(config->max_position_embeddings, text));
    if (config->sliding_window > 0)
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

/* Special ids of either source. */
struct roles {
    uint64_t ids[4];
    struct text tokens[4];
};

static const char *const ROLES[] = {"bos", "eos", "pad", "unk"};
static const char *const ROLE_KEYS[] = {"bos_token_id", "eos_token_id", "pad_token_id",
                                        "unk_token_id"};

static void say_roles(struct inspect_facts *facts, const struct roles *roles)
{
    char line[LINE_BYTES] = "";
    size_t at = 0;
    for (size_t i = 0; i < COUNT_OF(ROLES) && at < sizeof line; i++) {
        const char *gap = at > 0 ? ", " : "";
        if (roles->ids[i] == NO_ID)
            continue;
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%s %" PRIu64 " %.*s", gap, ROLES[i],
                               roles->ids[i], (int)MIN(roles->tokens[i].size, (size_t)64),
                               roles->tokens[i].size > 0 ? roles->tokens[i].data : "");
        inspect_facts_number(facts, ROLE_KEYS[i], roles->ids[i]);
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

/* By what is in the vocabulary: bytes as pieces, blanks as letters. */
static const char *kind_of(const struct tokenizer *tokenizer)
{
    if (tokenizer_id(tokenizer, TEXT("<0x0A>")) != TOKENIZER_NONE)
        return "SentencePiece with byte fallback";
    if (tokenizer_id(tokenizer, TEXT("\xC4\xA0")) != TOKENIZER_NONE)
        return "byte-level BPE";
    if (tokenizer_id(tokenizer, TEXT("\xE2\x96\x81")) != TOKENIZER_NONE)
        return "SentencePiece";
    return "BPE";
}

void inspect_model_tokenizer(struct inspect_facts *facts, const char *folder, bool optional)
{
    struct tokenizer *tokenizer = NULL;
    struct err_text why = {{0}};
    char text[HUMAN_BYTES];
    enum err err = tokenizer_open(folder, &tokenizer, &why);
    if (err == ERR_NOT_FOUND && optional)
        return;
    if (err != ERR_OK) {
        inspect_facts_say(facts, "tokenizer", "%s", err == ERR_NOT_FOUND ? "none" : why.text);
        inspect_facts_text(facts, "tokenizer_error", text_of(why.text));
        return;
    }
    uint32_t size = tokenizer_vocabulary_size(tokenizer);
    struct tokenizer_roles found = tokenizer_roles(tokenizer);
    const uint32_t ids[] = {found.bos, found.eos, found.pad, found.unk};
    struct roles roles;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        roles.ids[i] = ids[i] == TOKENIZER_NONE ? NO_ID : ids[i];
        roles.tokens[i] = tokenizer_token(tokenizer, ids[i]);
    }
    inspect_facts_say(facts, "tokenizer", "%s, %s tokens", kind_of(tokenizer),
                      human_count(size, text));
    inspect_facts_text(facts, "tokenizer", text_of(kind_of(tokenizer)));
    inspect_facts_number(facts, "tokens", size);
    say_roles(facts, &roles);
    say_template(facts, tokenizer_chat_template(tokenizer));
    tokenizer_close(&tokenizer);
}

static const char *kind_of_gguf(struct text model)
{
    static const struct {
        const char *model;
        const char *kind;
    } kinds[] = {
        {"llama", "SentencePiece with byte fallback"},
        {"gpt2", "byte-level BPE"},
        {"t5", "SentencePiece Unigram"},
        {"bert", "WordPiece"},
    };
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (text_is(model, kinds[i].model))
            return kinds[i].kind;
    return "of a kind that qfleet does not know";
}

void inspect_model_vocabulary(struct inspect_facts *facts, const struct gguf *gguf)
{
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.padding_token_id",
                                       "tokenizer.ggml.unknown_token_id"};
    struct text model = TEXT(""), jinja = TEXT("");
    struct roles roles;
    char text[HUMAN_BYTES];
    const struct gguf_value *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
    if (gguf_opt_text(gguf, "tokenizer.ggml.model", &model, NULL, NULL) != ERR_OK ||
        model.size == 0 || tokens == NULL || tokens->type != GGUF_TEXT) {
        inspect_facts_say(facts, "tokenizer", "none");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        int64_t id = -1;
        if (gguf_opt_i64(gguf, keys[i], -1, UINT32_MAX, &id, NULL, NULL) != ERR_OK)
            id = -1;
        bool named = id >= 0 && (uint64_t)id < tokens->count;
        roles.ids[i] = named ? (uint64_t)id : NO_ID;
        roles.tokens[i] = named ? tokens->texts[id] : TEXT("");
    }
    inspect_facts_say(facts, "tokenizer", "%s, %s tokens", kind_of_gguf(model),
                      human_count(tokens->count, text));
    inspect_facts_text(facts, "tokenizer", text_of(kind_of_gguf(model)));
    inspect_facts_number(facts, "tokens", tokens->count);
    say_roles(facts, &roles);
    if (gguf_opt_text(gguf, "tokenizer.chat_template", &jinja, NULL, NULL) == ERR_OK)
        say_template(facts, jinja);
}
