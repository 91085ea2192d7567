/* task_export_card.c - what the card of an adapter says about how it came about. */
#include <string.h>

#include "worker/task/task_export.h"
#include "worker/task/task_log.h"

enum { FACTS_MAX = 8 };

static void add_fact(struct peft_card_fact *facts, size_t *count, struct arena *arena,
                     const char *name, const char *value)
{
    const char *copy = value != NULL ? arena_copy_text(arena, text_of(value)) : NULL;
    if (copy != NULL && *count < FACTS_MAX)
        facts[(*count)++] = (struct peft_card_fact){text_of(name), text_of(copy)};
}

static void add_loss(struct task_export *x, struct peft_card_fact *facts, size_t *count,
                     const char *name, bool is_eval)
{
    const struct trainer_log_point *point = task_log_last(&x->log, is_eval);
    if (point != NULL)
        add_fact(facts, count, &x->arena, name, arena_print(&x->arena, "%.4f", point->loss));
}

static size_t list_facts(struct task_export *x, struct peft_card_fact *facts)
{
    const struct recipe *recipe = &x->run->recipe;
    size_t count = 0;
    add_fact(facts, &count, &x->arena, "numeric profile", recipe_profile_name(recipe));
    add_fact(facts, &count, &x->arena, "optimizer steps",
             arena_print(&x->arena, "%llu", (unsigned long long)x->log.steps_done));
    add_fact(facts, &count, &x->arena, "rows a step",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe_round_rows(recipe)));
    add_fact(facts, &count, &x->arena, "tokens a row",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe->sequence_len));
    add_fact(facts, &count, &x->arena, "seed",
             arena_print(&x->arena, "%llu", (unsigned long long)recipe->seed));
    add_loss(x, facts, &count, "training loss", false);
    add_loss(x, facts, &count, "held-out loss", true);
    return count;
}

static const char *file_name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* File names of the data sets, for the card. */
static struct text *list_datasets(struct task_export *x, size_t *count)
{
    const struct recipe *recipe = &x->run->recipe;
    *count = recipe->datasets_count;
    struct text *names = arena_alloc(&x->arena, *count, sizeof *names);
    for (size_t i = 0; names != NULL && i < *count; i++)
        names[i] = text_of(file_name_of(recipe->datasets[i].path));
    return names;
}

enum err task_export_fill_card(struct task_export *x, struct peft_card *card)
{
    struct peft_card_fact *facts = arena_alloc(&x->arena, FACTS_MAX, sizeof *facts);
    const char *name = x->run->recipe.name;
    card->datasets = list_datasets(x, &card->dataset_count);
    if (facts == NULL || card->datasets == NULL)
        return ERR_OUT_OF_MEMORY;
    card->title = text_of(name != NULL ? name : "adapter");
    card->fact_count = list_facts(x, facts);
    card->facts = facts;
    return ERR_OK;
}
