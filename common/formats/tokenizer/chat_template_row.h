/* chat_template_row.h - the columns of the table of chat templates. */
#ifndef COMMON_FORMATS_TOKENIZER_CHAT_TEMPLATE_ROW_H
#define COMMON_FORMATS_TOKENIZER_CHAT_TEMPLATE_ROW_H

#include <stdbool.h>
#include <stddef.h>

/* In the texts of a row these stand for the spelling of BOS and of EOS. */
#define CHAT_TEMPLATE_BOS "\1"
#define CHAT_TEMPLATE_EOS "\2"

enum chat_system_place {
    CHAT_SYSTEM_TURN,         /* a turn like others */
    CHAT_SYSTEM_FIRST,        /* a turn, at the start alone */
    CHAT_SYSTEM_IN_USER,      /* at the start of the first content of the user, trimmed with it */
    CHAT_SYSTEM_BEFORE_USER,  /* the same, not trimmed */
    CHAT_SYSTEM_IN_LAST_USER, /* in the last message if that is the user's; otherwise unsaid */
    CHAT_SYSTEM_REFUSED,      /* the template raises */
};

enum chat_trim { CHAT_TRIM_SYSTEM = 1, CHAT_TRIM_USER = 2, CHAT_TRIM_ASSISTANT = 4 };
#define CHAT_TRIM_ALL (CHAT_TRIM_SYSTEM | CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT)

enum { CHAT_TEMPLATE_FORMS_MAX = 4 };

/* A text that is NULL is empty. */
struct chat_template {
    const char *name;
    const char *alias; /* another name that people know, or NULL */
    /* What the one spelling of the model's Jinja (jinja_form.h) looks like, "*" standing for
     * anything: tools, pictures. The first has no "*": it is a template itself, the one that is
     * written. */
    const char *forms[CHAT_TEMPLATE_FORMS_MAX];
    const char *start;
    const char *separator; /* between messages */
    const char *system_open, *system_close;
    const char *preface;        /* before the content of a system turn that comes first */
    const char *default_system; /* said where a conversation does not begin with one */
    const char *user_open, *user_close;
    const char *assistant_open;                   /* without loss */
    const char *assistant_lead, *assistant_close; /* with loss */
    const char *after_assistant;                  /* without loss */
    const char *generation;                       /* opens the turn to be generated */
    const char *tail;                             /* ends a conversation that stays closed */
    enum chat_system_place system;
    unsigned trim;  /* of enum chat_trim: blanks around contents go */
    bool alternate; /* user and assistant take turns, the user first */
    bool thinks;    /* an answer behind the last question begins with its thoughts in <think> tags,
                       other answers are without theirs */
    bool skip_empty_system; /* a system turn without content is none */
};

/* Row of the table; NULL behind the last. */
const struct chat_template *chat_template_row_at(size_t index);

#endif
