/* retention.c - see retention.h. Rules are looked at one by one; each marks what it keeps. */
#include "coordinator/sched/retention.h"

#include <math.h>

#include "common/base/check.h"

bool retention_has_rule(const struct retention *rules)
{
    return rules->keep_last > 0 || rules->keep_best > 0 || rules->keep_every > 0 ||
           rules->keep_within_ms > 0 || rules->keep_first || rules->keep_tag.size > 0;
}

/* The lowest held-out loss above that of `after` (an index, `count` for none), equals by age. */
static size_t next_best(const struct checkpoint_row *const *rows, size_t count, size_t after)
{
    size_t best = count;
    for (size_t i = 0; i < count; i++) {
        double loss = rows[i]->eval_loss;
        if (rows[i]->undone || !isfinite(loss))
            continue;
        if (after < count &&
            (loss < rows[after]->eval_loss || (loss <= rows[after]->eval_loss && i <= after)))
            continue;
        if (best == count || loss < rows[best]->eval_loss)
            best = i;
    }
    return best;
}

static void keep_best(uint64_t wanted, const struct checkpoint_row *const *rows, size_t count,
                      unsigned *masks)
{
    size_t best = next_best(rows, count, count);
    for (uint64_t kept = 0; kept < MAX(wanted, (uint64_t)1) && best < count; kept++) {
        masks[best] |= RETENTION_BEST;
        best = next_best(rows, count, best);
    }
}

static void keep_newest(uint64_t wanted, const struct checkpoint_row *const *rows, size_t count,
                        unsigned *masks)
{
    uint64_t kept = 0;
    for (size_t i = count; i-- > 0;) {
        if (rows[i]->undone)
            continue;
        if (kept == 0)
            masks[i] |= RETENTION_LATEST;
        if (kept++ < wanted)
            masks[i] |= RETENTION_LAST;
    }
}

void retention_judge(const struct retention *rules, const struct checkpoint_row *const *rows,
                     size_t count, uint64_t now_unix_ms, unsigned *masks)
{
    bool is_first = true;
    for (size_t i = 0; i < count; i++) {
        const struct checkpoint_row *row = rows[i];
        uint64_t age_ms = now_unix_ms - MIN(now_unix_ms, row->created_unix_ms);
        masks[i] = row->tags.size > 0 ? (unsigned)RETENTION_TAG : 0;
        if (row->undone)
            continue;
        if (rules->keep_every > 0 && row->step % rules->keep_every == 0)
            masks[i] |= RETENTION_EVERY;
        if (rules->keep_within_ms > 0 && age_ms <= rules->keep_within_ms)
            masks[i] |= RETENTION_WITHIN;
        if (rules->keep_first && is_first)
            masks[i] |= RETENTION_FIRST;
        is_first = false;
    }
    keep_newest(rules->keep_last, rows, count, masks);
    keep_best(rules->keep_best, rows, count, masks);
}

const char *retention_words(unsigned mask, struct arena *arena)
{
    static const char *const words[] = {"latest", "best",   "tag",  "last",
                                        "every",  "within", "first"};
    const char *text = "";
    for (size_t i = 0; i < COUNT_OF(words) && text != NULL; i++) {
        if ((mask >> i & 1) != 0)
            text = arena_print(arena, "%s%s%s", text, text[0] != '\0' ? ", " : "", words[i]);
    }
    return text;
}
