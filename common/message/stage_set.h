/* stage_set.h - a set of stages of one job: what a stage needs, what is done.
 *
 * The one place that knows how a plan keeps it: a word for the stages below 64, as jobs always had
 * it, and one more for each further 64. In a row for people it is a list. Refuses to know: graphs.
 */
#ifndef COMMON_MESSAGE_STAGE_SET_H
#define COMMON_MESSAGE_STAGE_SET_H

#include "common/message/message.h"

enum { STAGE_SET_WORDS = LIMIT_JOB_STAGES / 64 };

/* Bit i % 64 of word i / 64: stage i is a member. All zero is the empty set. */
struct stage_set {
    uint64_t words[STAGE_SET_WORDS];
};

/* Only `index`, which is below LIMIT_JOB_STAGES here and below. */
struct stage_set stage_set_of(uint32_t index);

void stage_set_add(struct stage_set *set, uint32_t index);
void stage_set_remove(struct stage_set *set, uint32_t index);
bool stage_set_has(struct stage_set set, uint32_t index);

struct stage_set stage_set_union(struct stage_set a, struct stage_set b);
struct stage_set stage_set_without(struct stage_set a, struct stage_set b);

bool stage_set_is_empty(struct stage_set set);

/* Whether every member of `set` is one of `other`. */
bool stage_set_is_within(struct stage_set set, struct stage_set other);

/* Whether every index below `count` is a member. */
bool stage_set_has_all(struct stage_set set, uint32_t count);

/* The smallest member; the set must not be empty. */
uint32_t stage_set_first(struct stage_set set);

/* What a stage needs at once, without what those need. */
struct stage_set stage_set_of_plan(const struct stage_plan *plan);
struct stage_set stage_set_of_row(const struct stage_row *row);

/* Writes it into the members of the plan. */
void stage_set_to_plan(struct stage_set needs, struct stage_plan *plan);

/* Writes the members below 64 into the row, and all as its list; `refs` has room for `count` of
 * them, borrowed by the row. Members from `count` on are left out. */
void stage_set_to_row(struct stage_set needs, struct stage_ref *refs, uint32_t count,
                      struct stage_row *row);

#endif
