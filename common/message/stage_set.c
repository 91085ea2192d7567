/* stage_set.c - see stage_set.h. */
#include "common/message/stage_set.h"

#include "common/base/check.h"

_Static_assert(STAGE_SET_WORDS == 4 && LIMIT_JOB_STAGES % 64 == 0,
               "a plan has a member for each word");

static uint64_t bit_of(uint32_t index)
{
    ASSERT(index < LIMIT_JOB_STAGES);
    return (uint64_t)1 << index % 64;
}

struct stage_set stage_set_of(uint32_t index)
{
    struct stage_set set = {{0}};
    stage_set_add(&set, index);
    return set;
}

void stage_set_add(struct stage_set *set, uint32_t index)
{
    uint64_t bit = bit_of(index);
    set->words[index / 64] |= bit;
}

void stage_set_remove(struct stage_set *set, uint32_t index)
{
    uint64_t bit = bit_of(index);
    set->words[index / 64] &= ~bit;
}

bool stage_set_has(struct stage_set set, uint32_t index)
{
    uint64_t bit = bit_of(index);
    return (set.words[index / 64] & bit) != 0;
}

struct stage_set stage_set_union(struct stage_set a, struct stage_set b)
{
    for (size_t w = 0; w < STAGE_SET_WORDS; w++)
        a.words[w] |= b.words[w];
    return a;
}

struct stage_set stage_set_without(struct stage_set a, struct stage_set b)
{
    for (size_t w = 0; w < STAGE_SET_WORDS; w++)
        a.words[w] &= ~b.words[w];
    return a;
}

bool stage_set_is_empty(struct stage_set set)
{
    uint64_t any = 0;
    for (size_t w = 0; w < STAGE_SET_WORDS; w++)
        any |= set.words[w];
    return any == 0;
}

bool stage_set_is_within(struct stage_set set, struct stage_set other)
{
    return stage_set_is_empty(stage_set_without(set, other));
}

bool stage_set_has_all(struct stage_set set, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!stage_set_has(set, i))
            return false;
    }
    return true;
}

uint32_t stage_set_first(struct stage_set set)
{
    uint32_t w = 0;
    while (w < STAGE_SET_WORDS - 1 && set.words[w] == 0)
        w++;
    ASSERT(set.words[w] != 0);
    return w * 64 + (uint32_t)__builtin_ctzll(set.words[w]);
}

struct stage_set stage_set_of_plan(const struct stage_plan *plan)
{
    return (struct stage_set){{plan->needs, plan->needs_64, plan->needs_128, plan->needs_192}};
}

void stage_set_to_plan(struct stage_set needs, struct stage_plan *plan)
{
    plan->needs = needs.words[0];
    plan->needs_64 = needs.words[1];
    plan->needs_128 = needs.words[2];
    plan->needs_192 = needs.words[3];
}

/* A coordinator without the list has no stages from 64 on. */
struct stage_set stage_set_of_row(const struct stage_row *row)
{
    struct stage_set set = {{row->needs}};
    for (uint32_t i = 0; i < row->after_count; i++) {
        if (row->after[i].stage < LIMIT_JOB_STAGES)
            stage_set_add(&set, row->after[i].stage);
    }
    return set;
}

void stage_set_to_row(struct stage_set needs, struct stage_ref *refs, uint32_t count,
                      struct stage_row *row)
{
    row->needs = needs.words[0];
    row->after = refs;
    row->after_count = 0;
    for (uint32_t i = 0; row->after_count < count && i < LIMIT_JOB_STAGES; i++) {
        if (stage_set_has(needs, i))
            refs[row->after_count++].stage = i;
    }
}
