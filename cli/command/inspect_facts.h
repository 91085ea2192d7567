/* inspect_facts.h - what is known of a file, in order: lines for people, members for programs. */
#ifndef CLI_COMMAND_INSPECT_FACTS_H
#define CLI_COMMAND_INSPECT_FACTS_H

#include <stdint.h>

#include "cli/command/command.h"
#include "common/mem/arena.h"

enum { INSPECT_FACTS_MAX = 96 };

struct inspect_fact {
    const char *label; /* of a line; NULL: a member */
    const char *key;   /* of a member; static */
    const char *text;  /* NULL: the number, in the arena otherwise */
    uint64_t number;
};

struct inspect_facts {
    struct inspect_fact facts[INSPECT_FACTS_MAX];
    size_t count;
    struct arena arena; /* owned */
    enum err err;       /* first failure */
};

void inspect_facts_init(struct inspect_facts *facts);
void inspect_facts_fini(struct inspect_facts *facts);

/* A line "label  text"; texts are made clean for terminals when printed. */
void inspect_facts_say(struct inspect_facts *facts, const char *label, const char *format, ...)
    PRINTF(3, 4);

/* Members. Keys are static. */
void inspect_facts_text(struct inspect_facts *facts, const char *key, struct text text);
void inspect_facts_number(struct inspect_facts *facts, const char *key, uint64_t number);

/* ERR_OUT_OF_MEMORY when a fact could not be kept. */
MUST_CHECK enum err inspect_facts_print(const struct inspect_facts *facts,
                                        struct invocation *invocation);
MUST_CHECK enum err inspect_facts_write(const struct inspect_facts *facts, struct json_write *w);

#endif
