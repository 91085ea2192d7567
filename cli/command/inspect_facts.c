/* inspect_facts.c - see inspect_facts.h. */
#include "cli/command/inspect_facts.h"

#include <stdarg.h>
#include <string.h>

#include "cli/render/style.h"
#include "common/base/check.h"

enum { ARENA_BYTES_MAX = 1 << 20, LINE_BYTES = 1024, TEXT_BYTES_MAX = 4096 };

void inspect_facts_init(struct inspect_facts *facts)
{
    facts->count = 0;
    facts->err = ERR_OK;
    arena_init(&facts->arena, ARENA_BYTES_MAX);
}

void inspect_facts_fini(struct inspect_facts *facts)
{
    arena_fini(&facts->arena);
    facts->count = 0;
}

/* Room for a fact whose text was kept; NULL otherwise. */
static void add(struct inspect_facts *facts, struct inspect_fact fact, bool kept)
{
    if (!kept || facts->count == INSPECT_FACTS_MAX)
        facts->err = ERR_OUT_OF_MEMORY;
    else
        facts->facts[facts->count++] = fact;
}

void inspect_facts_say(struct inspect_facts *facts, const char *label, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    char *text = arena_copy_text(&facts->arena, text_of(line));
    add(facts, (struct inspect_fact){.label = label, .text = text}, text != NULL);
}

void inspect_facts_text(struct inspect_facts *facts, const char *key, struct text text)
{
    text.size = MIN(text.size, (size_t)TEXT_BYTES_MAX);
    char *copy = arena_copy_text(&facts->arena, text);
    add(facts, (struct inspect_fact){.key = key, .text = copy}, copy != NULL);
}

void inspect_facts_number(struct inspect_facts *facts, const char *key, uint64_t number)
{
    add(facts, (struct inspect_fact){.key = key, .number = number}, true);
}

enum err inspect_facts_print(const struct inspect_facts *facts, struct invocation *invocation)
{
    size_t width = 0;
    TRY(facts->err);
    for (size_t i = 0; i < facts->count; i++)
        if (facts->facts[i].label != NULL)
            width = MAX(width, strlen(facts->facts[i].label));
    for (size_t i = 0; i < facts->count; i++) {
        const struct inspect_fact *fact = &facts->facts[i];
        char line[LINE_BYTES];
        if (fact->label == NULL)
            continue;
        (void)snprintf(line, sizeof line, "%s", fact->text);
        (void)fprintf(invocation->out, "%s%-*s%s  %s\n", style_on(&invocation->style, STYLE_DIM),
                      (int)width, fact->label, style_off(&invocation->style, STYLE_DIM),
                      style_clean(line));
    }
    return ERR_OK;
}

enum err inspect_facts_write(const struct inspect_facts *facts, struct json_write *w)
{
    TRY(facts->err);
    for (size_t i = 0; i < facts->count; i++) {
        const struct inspect_fact *fact = &facts->facts[i];
        if (fact->key == NULL)
            continue;
        if (fact->text != NULL)
            json_write_text(w, fact->key, text_of(fact->text));
        else
            json_write_u64(w, fact->key, fact->number);
    }
    return ERR_OK;
}
