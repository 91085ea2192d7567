/* chat_template.c - one row a template, one way to render them all.
 *
 * In the texts of a row \1 stands for the spelling of BOS and \2 for that of EOS.
 */
#include "common/formats/tokenizer/chat_template.h"

#include <string.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/mem/mem.h"

#define BOS "\1"
#define EOS "\2"

enum system_place {
    SYSTEM_TURN,    /* a turn like others */
    SYSTEM_IN_USER, /* inside the first turn of the user */
    SYSTEM_REFUSED, /* the template raises */
};

enum { MARKS_MAX = 8, JINJA_BYTES_MAX = 1 << 20 };

struct chat_template {
    const char *name;
    const char *marks[MARKS_MAX];     /* all of them are in the model's Jinja; none: by name only */
    const char *strangers[MARKS_MAX]; /* and none of these */
    const char *start;
    const char *system_open, *system_close;
    const char *default_system; /* said where a conversation does not begin with one; may be NULL */
    const char *user_open, *user_close;
    const char *assistant_open;                   /* without loss */
    const char *assistant_lead, *assistant_close; /* with loss */
    const char *after_assistant;                  /* without loss */
    const char *generation;                       /* opens the turn to be generated */
    const char *tail;                             /* ends a conversation that stays closed */
    enum system_place system;
    bool trim;      /* blanks around contents go */
    bool alternate; /* user and assistant take turns, the user first */
};

static const struct chat_template TEMPLATES[] = {
    {
        .name = "chatml",
        .marks = {"<|im_start|>", "<|im_end|>", "add_generation_prompt"},
        .strangers = {"You are", "tool", "trim", "strip()", "bos_token", "think", "raise_exception",
                      "system_message"},
        .start = "",
        .system_open = "<|im_start|>system\n",
        .system_close = "<|im_end|>\n",
        .user_open = "<|im_start|>user\n",
        .user_close = "<|im_end|>\n",
        .assistant_open = "<|im_start|>assistant\n",
        .assistant_lead = "",
        .assistant_close = "<|im_end|>",
        .after_assistant = "\n",
        .generation = "<|im_start|>assistant\n",
        .tail = "",
    },
    {
        .name = "qwen-2.5",
        .marks = {"<|im_start|>",
                  "You are Qwen, created by Alibaba Cloud. You are a helpful "
                  "assistant.",
                  "<tool_call>"},
        .strangers = {"think"},
        .start = "",
        .system_open = "<|im_start|>system\n",
        .system_close = "<|im_end|>\n",
        .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
        .user_open = "<|im_start|>user\n",
        .user_close = "<|im_end|>\n",
        .assistant_open = "<|im_start|>assistant\n",
        .assistant_lead = "",
        .assistant_close = "<|im_end|>",
        .after_assistant = "\n",
        .generation = "<|im_start|>assistant\n",
        .tail = "",
    },
    {
        .name = "llama-2",
        .marks = {"<<SYS>>\\n", "\\n<</SYS>>\\n\\n", "bos_token + '[INST] '", "' [/INST]'",
                  ".strip()"},
        .strangers = {"tool", "You are"},
        .start = "",
        .system_open = "<<SYS>>\n",
        .system_close = "\n<</SYS>>\n\n",
        .user_open = BOS "[INST] ",
        .user_close = " [/INST]",
        .assistant_open = "",
        .assistant_lead = " ",
        .assistant_close = " " EOS,
        .after_assistant = "",
        .generation = "",
        .tail = "",
        .system = SYSTEM_IN_USER,
        .trim = true,
        .alternate = true,
    },
    {
        .name = "llama-3",
        .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "bos_token", "trim"},
        .strangers = {"Cutting Knowledge", "tool"},
        .start = BOS,
        .system_open = "<|start_header_id|>system<|end_header_id|>\n\n",
        .system_close = "<|eot_id|>",
        .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
        .user_close = "<|eot_id|>",
        .assistant_open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .assistant_lead = "",
        .assistant_close = "<|eot_id|>",
        .after_assistant = "",
        .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .tail = "",
        .trim = true,
    },
    {
        .name = "llama-3.1",
        .marks = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023",
                  "26 Jul 2024"},
        .strangers = {"strftime_now"},
        .start = BOS,
        .system_open = "<|start_header_id|>system<|end_header_id|>\n\n"
                       "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
        .system_close = "<|eot_id|>",
        .default_system = "",
        .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
        .user_close = "<|eot_id|>",
        .assistant_open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .assistant_lead = "",
        .assistant_close = "<|eot_id|>",
        .after_assistant = "",
        .generation = "<|start_header_id|>assistant<|end_header_id|>\n\n",
        .tail = "",
        .trim = true,
    },
    {
        .name = "zephyr",
        .marks = {"'<|user|>\\n' + message['content'] + eos_token",
                  "'<|system|>\\n' + message['content'] + eos_token", "<|assistant|>"},
        .strangers = {"<|end|>", "tool", "bos_token", "trim"},
        .start = "",
        .system_open = "<|system|>\n",
        .system_close = EOS "\n",
        .user_open = "<|user|>\n",
        .user_close = EOS "\n",
        .assistant_open = "<|assistant|>\n",
        .assistant_lead = "",
        .assistant_close = EOS,
        .after_assistant = "\n",
        .generation = "<|assistant|>\n",
        .tail = "",
    },
    {
        .name = "phi-3",
        .marks = {"<|user|>", "<|end|>", "<|assistant|>", "else %}{{ eos_token }}"},
        .strangers = {"tool", "bos_token", "trim"},
        .start = "",
        .system_open = "<|system|>\n",
        .system_close = "<|end|>\n",
        .user_open = "<|user|>\n",
        .user_close = "<|end|>\n",
        .assistant_open = "<|assistant|>\n",
        .assistant_lead = "",
        .assistant_close = "<|end|>",
        .after_assistant = "\n",
        .generation = "<|assistant|>\n",
        .tail = EOS,
    },
    {
        .name = "gemma",
        .marks = {"<start_of_turn>", "<end_of_turn>", "bos_token", "trim",
                  "System role not supported"},
        .strangers = {"tool"},
        .start = BOS,
        .system_open = "",
        .system_close = "",
        .user_open = "<start_of_turn>user\n",
        .user_close = "<end_of_turn>\n",
        .assistant_open = "<start_of_turn>model\n",
        .assistant_lead = "",
        .assistant_close = "<end_of_turn>",
        .after_assistant = "\n",
        .generation = "<start_of_turn>model\n",
        .tail = "",
        .system = SYSTEM_REFUSED,
        .trim = true,
        .alternate = true,
    },
    {
        .name = "mistral",
        .marks = {"bos_token", "'[INST] ' + message['content'] + ' [/INST]'",
                  "message['content'] + eos_token"},
        .strangers = {"<<SYS>>", "tool", "TOOL", "eos_token + ' '", "eos_token+ ' '",
                      "system_message", "trim", "strip()"},
        .start = BOS,
        .system_open = "",
        .system_close = "",
        .user_open = "[INST] ",
        .user_close = " [/INST]",
        .assistant_open = "",
        .assistant_lead = "",
        .assistant_close = EOS,
        .after_assistant = "",
        .generation = "",
        .tail = "",
        .system = SYSTEM_REFUSED,
        .alternate = true,
    },
    {
        .name = "alpaca",
        .start = BOS,
        .system_open = "",
        .system_close = "\n\n",
        .user_open = "### Instruction:\n",
        .user_close = "\n\n",
        .assistant_open = "### Response:\n",
        .assistant_lead = "",
        .assistant_close = EOS,
        .after_assistant = "\n\n",
        .generation = "### Response:\n",
        .tail = "",
    },
};

const struct chat_template *chat_template_named(struct text name)
{
    for (size_t i = 0; i < COUNT_OF(TEMPLATES); i++)
        if (text_is(name, TEMPLATES[i].name))
            return &TEMPLATES[i];
    return NULL;
}

const char *chat_template_name(const struct chat_template *chat_template)
{
    return chat_template->name;
}

const char *chat_template_choices(void)
{
    return "chatml, qwen-2.5, llama-2, llama-3, llama-3.1, zephyr, phi-3, gemma, mistral, alpaca";
}

static bool contains(struct text text, const char *part)
{
    size_t size = strlen(part);
    for (size_t at = 0; at + size <= text.size; at++)
        if (text.data[at] == part[0] && memcmp(text.data + at, part, size) == 0)
            return true;
    return false;
}

static bool is_of(const struct chat_template *row, struct text jinja)
{
    for (size_t i = 0; i < MARKS_MAX && row->marks[i] != NULL; i++)
        if (!contains(jinja, row->marks[i]))
            return false;
    for (size_t i = 0; i < MARKS_MAX && row->strangers[i] != NULL; i++)
        if (contains(jinja, row->strangers[i]))
            return false;
    return row->marks[0] != NULL;
}

const struct chat_template *chat_template_recognise(struct text jinja)
{
    const struct chat_template *found = NULL;
    char *copy = jinja.size > JINJA_BYTES_MAX ? NULL : mem_copy_text(jinja);
    if (copy == NULL)
        return NULL;
    /* Jinja takes both quotes; the marks are written with one. Backslash-n and a line break inside
     * quotes are the same to it too. */
    struct bytes text;
    bytes_init(&text, JINJA_BYTES_MAX * 2);
    bool quoted = false;
    for (size_t i = 0; i < jinja.size; i++) {
        char c = copy[i] == '"' ? '\'' : copy[i];
        quoted ^= c == '\'';
        if (c == '\n' && quoted)
            bytes_append(&text, "\\n", 2);
        else
            bytes_append(&text, &c, 1);
    }
    for (size_t i = 0; i < COUNT_OF(TEMPLATES) && bytes_status(&text) == ERR_OK; i++)
        if (is_of(&TEMPLATES[i], (struct text){(const char *)text.data, text.size})) {
            found = &TEMPLATES[i];
            break;
        }
    bytes_fini(&text);
    mem_free(copy);
    return found;
}

/* Whether a text of the row, other than its start, holds EOS. */
static bool needs_eos(const struct chat_template *row)
{
    const char *const texts[] = {row->system_close, row->user_close, row->assistant_close,
                                 row->tail};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (strchr(texts[i], EOS[0]) != NULL)
            return true;
    return false;
}

static enum err find_template(const struct tokenizer *tokenizer, const char *name,
                              const struct chat_template **out, struct err_text *et)
{
    if (name != NULL && strcmp(name, "tokenizer_default") != 0) {
        *out = chat_template_named(text_of(name));
        if (*out == NULL)
            return error_set(et, ERR_RECIPE, "chat_template: expected one of %s, found '%s'",
                             chat_template_choices(), name);
        return ERR_OK;
    }
    struct text jinja = tokenizer == NULL ? TEXT("") : tokenizer_chat_template(tokenizer);
    if (jinja.size == 0)
        return error_set(et, ERR_NOT_FOUND,
                         "the model has no chat template; set chat_template to one of %s",
                         chat_template_choices());
    *out = chat_template_recognise(jinja);
    if (*out == NULL)
        return error_set(et, ERR_UNSUPPORTED,
                         "the model's chat template is none that qfleet knows; set chat_template "
                         "to one of %s",
                         chat_template_choices());
    return ERR_OK;
}

enum err chat_template_resolve(const struct tokenizer *tokenizer, const char *name,
                               const struct chat_template **out, struct err_text *et)
{
    const struct chat_template *found;
    TRY(find_template(tokenizer, name, &found, et));
    /* Turns that never end would train a model that never stops. */
    if (tokenizer != NULL && needs_eos(found) && tokenizer_roles(tokenizer).eos == TOKENIZER_NONE)
        return error_set(et, ERR_UNSUPPORTED,
                         "chat template %s ends turns with EOS, but the tokenizer names no "
                         "eos_token",
                         found->name);
    *out = found;
    return ERR_OK;
}

enum err chat_template_role(struct text name, enum chat_role *out)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } names[] = {
        {"system", CHAT_SYSTEM},   {"user", CHAT_USER},     {"human", CHAT_USER},
        {"prompter", CHAT_USER},   {"gpt", CHAT_ASSISTANT}, {"assistant", CHAT_ASSISTANT},
        {"model", CHAT_ASSISTANT}, {"bot", CHAT_ASSISTANT},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (text_is(name, names[i].name)) {
            *out = names[i].role;
            return ERR_OK;
        }
    return ERR_DATA;
}

struct chat_render_options chat_template_options(const struct tokenizer *tokenizer)
{
    struct tokenizer_roles roles = tokenizer_roles(tokenizer);
    return (struct chat_render_options){.bos = tokenizer_token(tokenizer, roles.bos),
                                        .eos = tokenizer_token(tokenizer, roles.eos)};
}

static void expand(const char *text, const struct chat_render_options *options, struct bytes *out)
{
    for (; *text != '\0'; text++)
        if (*text == BOS[0])
            bytes_append_text(out, options->bos);
        else if (*text == EOS[0])
            bytes_append_text(out, options->eos);
        else
            bytes_append(out, text, 1);
}

static struct text trimmed(struct text text)
{
    while (text.size > 0 && unicode_is_space(unicode_at(text.data))) {
        size_t size = unicode_size((uint8_t)text.data[0]);
        text = (struct text){text.data + size, text.size - size};
    }
    while (text.size > 0) {
        size_t last = unicode_before(text, text.size);
        if (!unicode_is_space(unicode_at(text.data + last)))
            break;
        text.size = last;
    }
    return text;
}

static const char *const ROLE_NAMES[] = {
    [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

static enum err refuse(const struct chat_template *row, const struct chat_message *messages,
                       size_t index, const char *why, struct err_text *et)
{
    return error_set(et, ERR_DATA, "message %zu is of role %s, but template %s %s", index + 1,
                     ROLE_NAMES[messages[index].role], row->name, why);
}

/* Whether the template takes this sequence of roles. */
static enum err check_roles(const struct chat_template *row, const struct chat_message *messages,
                            size_t count, struct err_text *et)
{
    bool led = count > 0 && messages[0].role == CHAT_SYSTEM;
    if (led && row->system == SYSTEM_REFUSED)
        return refuse(row, messages, 0, "has none", et);
    if (led && row->system == SYSTEM_IN_USER && (count < 2 || messages[1].role != CHAT_USER))
        return refuse(row, messages, 0, "needs the user's turn after it", et);
    for (size_t i = led; i < count; i++) {
        bool first_only = row->alternate || row->default_system != NULL;
        if (messages[i].role == CHAT_SYSTEM && first_only)
            return refuse(row, messages, i, "takes it first only", et);
        enum chat_role turn = (i - led) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (row->alternate && messages[i].role != turn)
            return refuse(row, messages, i, "wants user and assistant to take turns", et);
    }
    return ERR_OK;
}

/* The user's content, behind the system's text where the template puts it there. */
static enum err render_user(const struct chat_template *row, struct text system,
                            struct text content, const struct chat_render_options *options,
                            struct bytes *out)
{
    struct bytes joined;
    bytes_init(&joined, out->limit_bytes);
    if (system.data != NULL) {
        expand(row->system_open, options, &joined);
        bytes_append_text(&joined, system);
        expand(row->system_close, options, &joined);
    }
    bytes_append_text(&joined, content);
    enum err err = bytes_status(&joined);
    if (err == ERR_OK) {
        struct text text = {joined.size == 0 ? "" : (const char *)joined.data, joined.size};
        expand(row->user_open, options, out);
        bytes_append_text(out, row->trim ? trimmed(text) : text);
        expand(row->user_close, options, out);
    }
    bytes_fini(&joined);
    return err;
}

static void render_system(const struct chat_template *row, struct text content,
                          const struct chat_render_options *options, struct bytes *out)
{
    expand(row->system_open, options, out);
    bytes_append_text(out, row->trim ? trimmed(content) : content);
    expand(row->system_close, options, out);
}

static struct chat_span render_assistant(const struct chat_template *row, struct text content,
                                         const struct chat_render_options *options,
                                         struct bytes *out)
{
    struct chat_span span;
    expand(row->assistant_open, options, out);
    span.begin = out->size;
    expand(row->assistant_lead, options, out);
    bytes_append_text(out, row->trim ? trimmed(content) : content);
    expand(row->assistant_close, options, out);
    span.end = out->size;
    expand(row->after_assistant, options, out);
    return span;
}

enum err chat_template_render(const struct chat_template *row, const struct chat_message *messages,
                              size_t count, const struct chat_render_options *options,
                              struct bytes *out, struct chat_span *spans, size_t *span_count,
                              struct err_text *et)
{
    size_t found = 0;
    size_t at = 0;
    struct text system = {NULL, 0};
    TRY(check_roles(row, messages, count, et));
    expand(row->start, options, out);
    bool led = count > 0 && messages[0].role == CHAT_SYSTEM;
    if (row->system == SYSTEM_IN_USER && led)
        system = messages[at++].content;
    else if (row->default_system != NULL && !led)
        render_system(row, text_of(row->default_system), options, out);
    for (; at < count; at++) {
        struct text content = messages[at].content;
        switch (messages[at].role) {
        case CHAT_SYSTEM:
            render_system(row, content, options, out);
            break;
        case CHAT_USER:
            TRY(render_user(row, system, content, options, out));
            system = (struct text){NULL, 0};
            break;
        case CHAT_ASSISTANT: {
            struct chat_span span = render_assistant(row, content, options, out);
            if (spans != NULL)
                spans[found] = span;
            found++;
            break;
        }
        }
    }
    expand(options->add_generation_prompt ? row->generation : row->tail, options, out);
    if (span_count != NULL)
        *span_count = found;
    return bytes_status(out);
}
