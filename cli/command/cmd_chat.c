/* cmd_chat.c - `qctl generate` and `qctl chat`: a model speaks, without a fleet. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/model_session.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/mem/arena.h"

enum { LINE_BYTES_MAX = 1 << 16, TURNS_MAX = 256, TEXT_BYTES_MAX = 16 << 20 };

/* The prompt of --prompt or of --prompt-file, as written. */
static enum err read_prompt(const struct invocation *invocation, struct bytes *out,
                            struct err_text *et)
{
    const char *prompt = command_text(invocation, "prompt");
    const char *path = command_text(invocation, "prompt-file");
    if (prompt != NULL && path != NULL)
        return error_set(et, ERR_USAGE, "--prompt excludes --prompt-file; give one of them");
    if (path != NULL)
        return file_read(path, TEXT_BYTES_MAX, out, et);
    bytes_append_text(out, text_of(prompt != NULL ? prompt : ""));
    return bytes_status(out);
}

/* A model that begins every text with a token of its own gets it also for an empty prompt. */
static enum err encode_prompt(const struct tokenizer *tokenizer, struct span text,
                              struct token_list *out, struct err_text *et)
{
    struct text words = {(const char *)text.data, text.size};
    struct tokenizer_affix prefix = tokenizer_prefix(tokenizer);
    uint32_t bos = tokenizer_roles(tokenizer).bos;
    TRY(token_list_append(out, prefix.ids, prefix.count));
    TRY(tokenizer_encode(tokenizer, NULL, words, 0, out));
    if (out->count == 0 && bos != TOKENIZER_NONE)
        TRY(token_list_append(out, &bos, 1));
    if (out->count == 0)
        return error_set(et, ERR_USAGE,
                         "--prompt: expected a text, since this model has no token "
                         "that begins one");
    return ERR_OK;
}

enum err cmd_generate(struct invocation *invocation, struct err_text *et)
{
    struct model_session session;
    struct bytes text;
    struct token_list prompt;
    TRY(model_session_init(&session, invocation, et));
    bytes_init(&text, TEXT_BYTES_MAX);
    token_list_init(&prompt);
    enum err err;
    TRY_OUT(read_prompt(invocation, &text, et));
    TRY_OUT(encode_prompt(session.tokenizer, bytes_span(&text), &prompt, et));
    if (command_flag(invocation, "echo"))
        (void)fprintf(invocation->out, "%.*s", (int)text.size, (const char *)text.data);
    TRY_OUT(model_session_speak(&session, invocation, &prompt, NULL, NULL, et));
    (void)fputc('\n', invocation->out);
out:
    token_list_fini(&prompt);
    bytes_fini(&text);
    model_session_fini(&session);
    return err;
}

/* A conversation: rendered anew each turn, so that every template works; only what is new is fed.
 */
struct talk {
    struct model_session session;
    const struct chat_template *template;
    struct chat_message turns[TURNS_MAX];
    size_t turn_count;
    struct token_list fed; /* owned: what the model has seen */
    struct arena arena;    /* owned: texts of the turns */
};

static enum err render(struct talk *talk, struct token_list *out, struct err_text *et)
{
    struct chat_render_options options = chat_template_options(talk->session.tokenizer);
    struct bytes text;
    options.add_generation_prompt = true;
    bytes_init(&text, TEXT_BYTES_MAX);
    enum err err = chat_template_render(talk->template, talk->turns, talk->turn_count, &options,
                                        &text, NULL, NULL, et);
    if (err == ERR_OK)
        err = tokenizer_encode(talk->session.tokenizer, NULL,
                               (struct text){(const char *)text.data, text.size}, 0, out);
    bytes_fini(&text);
    return err;
}

/* Tokens of `all` that the model has not seen; a conversation that reads otherwise than before
 * starts anew. */
static enum err unseen(struct talk *talk, const struct token_list *all, struct token_list *out)
{
    size_t common = 0;
    while (common < talk->fed.count && common < all->count &&
           talk->fed.ids[common] == all->ids[common])
        common++;
    if (common < talk->fed.count || common == all->count) {
        generate_reset(talk->session.generate);
        talk->fed.count = 0;
        common = 0;
    }
    return token_list_append(out, all->ids + common, all->count - common);
}

static enum err add_turn(struct talk *talk, enum chat_role role, struct text content,
                         struct err_text *et)
{
    const char *copy = arena_copy_text(&talk->arena, content);
    if (talk->turn_count == TURNS_MAX)
        return error_set(et, ERR_LIMIT, "expected at most %d turns", TURNS_MAX);
    if (copy == NULL)
        return ERR_OUT_OF_MEMORY;
    talk->turns[talk->turn_count++] = (struct chat_message){role, text_of(copy)};
    return ERR_OK;
}

static enum err answer(struct talk *talk, const struct invocation *invocation, struct err_text *et)
{
    struct token_list all, fresh, said;
    struct bytes text;
    token_list_init(&all);
    token_list_init(&fresh);
    token_list_init(&said);
    bytes_init(&text, TEXT_BYTES_MAX);
    enum err err;
    TRY_OUT(render(talk, &all, et));
    TRY_OUT(unseen(talk, &all, &fresh));
    TRY_OUT(model_session_speak(&talk->session, invocation, &fresh, &said, &text, et));
    TRY_OUT(token_list_append(&talk->fed, fresh.ids, fresh.count));
    /* The last token that was drawn has not been fed, so the next turn feeds it. */
    size_t fed = generate_position(talk->session.generate);
    TRY_OUT(token_list_append(&talk->fed, said.ids, MIN(said.count, fed - talk->fed.count)));
    TRY_OUT(bytes_status(&text));
    err = add_turn(talk, CHAT_ASSISTANT, (struct text){(const char *)text.data, text.size}, et);
out:
    bytes_fini(&text);
    token_list_fini(&said);
    token_list_fini(&fresh);
    token_list_fini(&all);
    return err;
}

static enum err converse(struct talk *talk, const struct invocation *invocation,
                         struct err_text *et)
{
    char line[LINE_BYTES_MAX];
    const char *prompt = command_text(invocation, "prompt");
    bool asks = prompt == NULL && invocation->style.terminal;
    for (;;) {
        if (asks)
            (void)fputs("> ", invocation->out);
        (void)fflush(invocation->out);
        if (prompt == NULL && fgets(line, sizeof line, stdin) == NULL)
            return ERR_OK;
        struct text said = text_of(prompt != NULL ? prompt : line);
        while (said.size > 0 && said.data[said.size - 1] == '\n')
            said.size--;
        if (said.size > 0) {
            TRY(add_turn(talk, CHAT_USER, said, et));
            TRY(answer(talk, invocation, et));
            (void)fputc('\n', invocation->out);
        }
        if (prompt != NULL)
            return ERR_OK;
    }
}

enum err cmd_chat(struct invocation *invocation, struct err_text *et)
{
    struct talk talk = {.turn_count = 0};
    const char *system = command_text(invocation, "system");
    TRY(model_session_init(&talk.session, invocation, et));
    token_list_init(&talk.fed);
    arena_init(&talk.arena, TEXT_BYTES_MAX);
    enum err err;
    err = chat_template_resolve(talk.session.tokenizer, command_text(invocation, "chat-template"),
                                &talk.template, et);
    if (err != ERR_OK)
        TRY_OUT(error_prefix(et, err, "--chat-template"));
    if (system != NULL)
        TRY_OUT(add_turn(&talk, CHAT_SYSTEM, text_of(system), et));
    err = converse(&talk, invocation, et);
out:
    token_list_fini(&talk.fed);
    arena_fini(&talk.arena);
    model_session_fini(&talk.session);
    return err;
}
