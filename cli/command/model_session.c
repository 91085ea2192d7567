/* model_session.c - opens everything that generation needs; prints tokens as they come. */
#include "cli/command/model_session.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command/bound_adapter.h"
#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/hf/hf_generation.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "worker/task/task_insert.h"

enum { PIECE_BYTES_MAX = 1 << 16, NEW_TOKENS_DEFAULT = 200 };

static enum err read_sampling(struct model_session *session, const struct invocation *invocation,
                              struct err_text *et)
{
    uint64_t top_k = 0, count = NEW_TOKENS_DEFAULT, seed = 42;
    struct generate_options *options = &session->options;
    *options = (struct generate_options){.temperature = 0.8, .top_p = 0.95};
    options->repetition_penalty = 1;
    TRY(command_f64(invocation, "temperature", 0, 100, &options->temperature, et));
    TRY(command_f64(invocation, "top-p", 1e-6, 1, &options->top_p, et));
    TRY(command_f64(invocation, "repetition-penalty", 0.01, 100, &options->repetition_penalty, et));
    TRY(command_u64(invocation, "top-k", 0, 1 << 30, &top_k, et));
    TRY(command_u64(invocation, "max-new-tokens", 1, 1 << 20, &count, et));
    TRY(command_u64(invocation, "seed", 0, UINT64_MAX, &seed, et));
    options->top_k = (size_t)top_k;
    options->token_count_max = (size_t)count;
    options->seed = seed;
    return ERR_OK;
}

static void add_stop(struct model_session *session, uint32_t token)
{
    struct generate_options *options = &session->options;
    if (token != TOKENIZER_NONE && options->stop_token_count < MODEL_SESSION_STOPS_MAX)
        session->stops[options->stop_token_count++] = token;
}

/* Every end of text that the files name: tokenizer, config, generation_config. */
static enum err collect_stops(struct model_session *session, const char *folder,
                              struct err_text *et)
{
    char path[4096];
    const struct hf_config_tokens *eos = &model_config(session->model)->eos;
    add_stop(session, tokenizer_roles(session->tokenizer).eos);
    for (size_t i = 0; i < eos->count; i++)
        add_stop(session, (uint32_t)eos->ids[i]);
    (void)snprintf(path, sizeof path, "%s/generation_config.json", folder);
    if (file_exists(path)) {
        struct hf_generation generation;
        TRY(hf_generation_open(&generation, path, et));
        for (size_t i = 0; i < generation.eos.count; i++)
            add_stop(session, (uint32_t)generation.eos.ids[i]);
    }
    session->options.stop_tokens = session->stops;
    return ERR_OK;
}

/* A prompt or bottlenecks. */
static enum err open_insert(struct model_session *session, const char *folder, struct err_text *et)
{
    struct peft_insert insert;
    struct train_config config;
    TRY(peft_insert_open(&insert, folder, et));
    enum err err = ERR_OK;
    TRY_OUT(task_insert_settings(session->model, &insert.config, &config, et));
    TRY_OUT(train_layout_create(session->model, &config, &session->layout, et));
    session->values = mem_alloc(train_layout_count(session->layout), sizeof *session->values);
    if (session->values == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    TRY_OUT(task_insert_values(&insert, session->layout, session->values, et));
out:
    peft_insert_close(&insert);
    return err;
}

static enum err open_adapter(struct model_session *session, const char *folder, struct err_text *et)
{
    struct peft_adapter adapter;
    bool inserts = false;
    if (folder == NULL)
        return ERR_OK;
    TRY(peft_insert_probe(folder, &inserts, et));
    if (inserts)
        return open_insert(session, folder, et);
    TRY(peft_adapter_open(&adapter, folder, et));
    enum err err =
        bound_adapter_read(session->model, &adapter, &session->binding, &session->values, et);
    peft_adapter_close(&adapter);
    return err;
}

static enum err open_engine(struct model_session *session, const struct invocation *invocation,
                            struct err_text *et)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = (uint64_t)MAX(cores, 1);
    TRY(command_u64(invocation, "threads", 1, KERNEL_THREADS_MAX, &threads, et));
    TRY(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, (unsigned)threads, &session->kernel));
    TRY(binding_init(&session->binding, session->model));
    TRY(open_adapter(session, command_text(invocation, "adapter"), et));
    const struct binding *binding = session->values != NULL ? &session->binding : NULL;
    if (session->layout != NULL)
        binding = train_layout_binding(session->layout);
    size_t prompt = binding != NULL ? binding->prompt_count : 0;
    return generate_create(session->model, session->kernel, binding, session->values,
                           model_shape(session->model)->positions - prompt, &session->generate);
}

enum err model_session_init(struct model_session *session, const struct invocation *invocation,
                            struct err_text *et)
{
    const char *folder = invocation->arguments[0];
    *session = (struct model_session){0};
    enum err err;
    TRY_OUT(read_sampling(session, invocation, et));
    TRY_OUT(model_open(folder, &session->model, et));
    TRY_OUT(tokenizer_open(folder, &session->tokenizer, et));
    TRY_OUT(open_engine(session, invocation, et));
    TRY_OUT(collect_stops(session, folder, et));
    return ERR_OK;
out:
    model_session_fini(session);
    return err;
}

void model_session_fini(struct model_session *session)
{
    generate_destroy(&session->generate);
    binding_fini(&session->binding);
    train_layout_destroy(&session->layout);
    mem_free(session->values);
    kernel_destroy(&session->kernel);
    tokenizer_close(&session->tokenizer);
    model_destroy(&session->model);
    *session = (struct model_session){0};
}

/* What a generated token goes through. */
struct speech {
    struct tokenizer_stream stream;
    struct bytes piece;
    FILE *out;
    struct token_list *said;
    struct bytes *text;
    enum err err;
};

static bool print_piece(struct speech *speech)
{
    if (speech->text != NULL)
        bytes_append(speech->text, speech->piece.data, speech->piece.size);
    if (speech->piece.size > 0)
        (void)fwrite(speech->piece.data, 1, speech->piece.size, speech->out);
    bytes_clear(&speech->piece);
    return fflush(speech->out) == 0;
}

static bool take_token(void *context, uint32_t token)
{
    struct speech *speech = context;
    /* Models may have more rows than their tokenizer has tokens; such a row says nothing. */
    if (token < tokenizer_vocabulary_size(speech->stream.tokenizer))
        speech->err = tokenizer_stream_push(&speech->stream, token, &speech->piece);
    if (speech->err == ERR_OK && speech->said != NULL)
        speech->err = token_list_append(speech->said, &token, 1);
    return speech->err == ERR_OK && print_piece(speech);
}

enum err model_session_speak(struct model_session *session, const struct invocation *invocation,
                             const struct token_list *prompt, struct token_list *said,
                             struct bytes *text, struct err_text *et)
{
    struct speech speech = {.out = invocation->out, .said = said, .text = text};
    bytes_init(&speech.piece, PIECE_BYTES_MAX);
    tokenizer_stream_init(&speech.stream, session->tokenizer, TOKENIZER_SKIP_SPECIAL);
    enum err err = generate_run(session->generate, prompt->ids, prompt->count, &session->options,
                                take_token, &speech, NULL, et);
    if (err == ERR_OK)
        err = speech.err;
    if (err == ERR_OK)
        err = tokenizer_stream_end(&speech.stream, &speech.piece);
    if (err == ERR_OK)
        (void)print_piece(&speech);
    bytes_fini(&speech.piece);
    return err;
}
