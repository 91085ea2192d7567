/* convert_tokenizer.c - in the order in which llama.cpp's converter gives the keys. */
#include "common/formats/convert/convert_tokenizer.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/tokenizer_export.h"

#define SCORE_UNUSED (-10000.0f)

enum { PAD_BYTES = 24 };

static void put_role(struct gguf_write *w, const char *key, uint32_t id)
{
    if (id != TOKENIZER_NONE)
        gguf_write_u32(w, key, id);
}

static void put_tokens(const struct tokenizer_export *e, uint32_t rows, struct gguf_write *w)
{
    gguf_write_array(w, "tokenizer.ggml.tokens", GGUF_TEXT, rows);
    for (uint32_t i = 0; i < rows; i++) {
        char pad[PAD_BYTES];
        (void)snprintf(pad, sizeof pad, "[PAD%u]", i);
        gguf_write_item_text(w, i < e->count ? e->tokens[i] : text_of(pad));
    }
    if (e->scores != NULL) {
        gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, rows);
        for (uint32_t i = 0; i < rows; i++)
            gguf_write_item_f32(w, i < e->count ? e->scores[i] : SCORE_UNUSED);
    }
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, rows);
    for (uint32_t i = 0; i < rows; i++)
        gguf_write_item_i32(w, i < e->count ? e->types[i] : TOKENIZER_UNUSED);
    if (e->merges != NULL) {
        gguf_write_array(w, "tokenizer.ggml.merges", GGUF_TEXT, e->merge_count);
        for (uint32_t i = 0; i < e->merge_count; i++)
            gguf_write_item_text(w, e->merges[i]);
    }
}

enum err convert_tokenizer_write(const struct tokenizer *tokenizer, const struct hf_config *config,
                                 struct arena *arena, struct gguf_write *w, struct err_text *et)
{
    struct tokenizer_export e = {0};
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    struct text chat = tokenizer_chat_template(tokenizer);
    TRY(tokenizer_export_make(tokenizer, arena, &e, et));
    if (e.count > config->vocab_size)
        return error_set(et, ERR_SHAPE,
                         "the tokenizer has %u tokens, more than the %u rows of the embedding",
                         e.count, config->vocab_size);
    gguf_write_text(w, "tokenizer.ggml.model", text_of(e.model));
    gguf_write_text(w, "tokenizer.ggml.pre", text_of(e.pre));
    put_tokens(&e, config->vocab_size, w);
    put_role(w, "tokenizer.ggml.bos_token_id", roles.bos);
    put_role(w, "tokenizer.ggml.eos_token_id", roles.eos);
    put_role(w, "tokenizer.ggml.unknown_token_id", roles.unk);
    put_role(w, "tokenizer.ggml.padding_token_id", roles.pad);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", e.add_bos);
    gguf_write_bool(w, "tokenizer.ggml.add_eos_token", e.add_eos);
    if (e.scores != NULL && !e.add_space_prefix)
        gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false);
    if (e.remove_extra_whitespaces)
        gguf_write_bool(w, "tokenizer.ggml.remove_extra_whitespaces", true);
    if (e.charsmap.size > 0) {
        gguf_write_array(w, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, e.charsmap.size);
        for (size_t i = 0; i < e.charsmap.size; i++)
            gguf_write_item_u8(w, e.charsmap.data[i]);
    }
    if (chat.size > 0)
        gguf_write_text(w, "tokenizer.chat_template", chat);
    return ERR_OK;
}
