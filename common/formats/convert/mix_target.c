/* mix_target.c - one search for both questions: what is spent has a limit, what is lost shall be
 * least. */
#include "common/formats/convert/mix_target.h"

#include <stdbool.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/mem/arena.h"

/* Sums of sizes are exact in f64. */
#define SIZE_BYTES_MAX 0x1p53

/* A candidate that no other of its tensor beats in both. */
struct option {
    double spent;
    double lost;
    size_t index; /* of the candidate */
};

/* From one corner of a tensor's hull to the next. */
struct step {
    double slope; /* lost less for each that is spent more */
    size_t tensor;
    size_t from, to; /* options */
};

/* Another option for a tensor, seen from its present one. */
struct move {
    double spent;
    double lost;
    size_t tensor;
    size_t to;
};

/* The two moves of different tensors that lose least among the first so many of the sorted ones;
 * the number of moves where there is none. */
struct least {
    size_t first, second;
};

struct search {
    const struct mix_target_tensor *tensors;
    size_t count;
    bool limits_size; /* size is spent, else the loss is */
    double limit;
    struct option *options; /* of tensor i from begin[i] to begin[i + 1], more and more spent */
    size_t *begin;          /* [count + 1] */
    size_t *at;             /* [count]: the present options */
    struct move *moves;
    struct least *least;
    struct step *steps;
    struct arena arena; /* owned: all of these */
};

struct totals {
    double spent;
    double lost;
};

static enum err check(const struct mix_target_tensor *tensors, size_t count)
{
    double size_bytes = 0.0;
    if (count == 0 || count > MIX_TARGET_TENSORS_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < count; i++) {
        uint64_t largest = 0;
        if (tensors[i].count == 0 || tensors[i].count > MIX_TARGET_CANDIDATES_MAX)
            return ERR_LIMIT;
        for (size_t k = 0; k < tensors[i].count; k++) {
            double loss = tensors[i].candidates[k].loss;
            if (!(loss - loss == 0.0))
                return ERR_NOT_FINITE;
            largest = MAX(largest, tensors[i].candidates[k].size_bytes);
        }
        size_bytes += (double)largest;
    }
    return size_bytes < SIZE_BYTES_MAX ? ERR_OK : ERR_LIMIT;
}

static bool comes_before(const struct option *a, const struct option *b)
{
    if (a->spent != b->spent)
        return a->spent < b->spent;
    return a->lost != b->lost ? a->lost < b->lost : a->index < b->index;
}

/* Writes the options of a tensor, more and more spent, less and less lost; returns their number. */
static size_t list_options(const struct search *s, const struct mix_target_tensor *tensor,
                           struct option *out)
{
    size_t kept = 0;
    for (size_t i = 0; i < tensor->count; i++) {
        const struct mix_target_candidate *c = &tensor->candidates[i];
        struct option o = {.index = i};
        o.spent = s->limits_size ? (double)c->size_bytes : c->loss;
        o.lost = s->limits_size ? c->loss : (double)c->size_bytes;
        size_t k = i;
        for (; k > 0 && comes_before(&o, &out[k - 1]); k--)
            out[k] = out[k - 1];
        out[k] = o;
    }
    for (size_t i = 0; i < tensor->count; i++) {
        if (kept == 0 || out[i].lost < out[kept - 1].lost)
            out[kept++] = out[i];
    }
    return kept;
}

static enum err prepare(struct search *s)
{
    size_t all = 0;
    for (size_t i = 0; i < s->count; i++)
        all += s->tensors[i].count;
    s->options = arena_alloc(&s->arena, all, sizeof *s->options);
    s->begin = arena_alloc(&s->arena, s->count + 1, sizeof *s->begin);
    s->at = arena_alloc(&s->arena, s->count, sizeof *s->at);
    s->moves = arena_alloc(&s->arena, all, sizeof *s->moves);
    s->least = arena_alloc(&s->arena, all + 1, sizeof *s->least);
    s->steps = arena_alloc(&s->arena, all, sizeof *s->steps);
    if (s->options == NULL || s->begin == NULL || s->at == NULL || s->moves == NULL ||
        s->least == NULL || s->steps == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < s->count; i++) {
        s->at[i] = s->begin[i];
        s->begin[i + 1] = s->begin[i] + list_options(s, &s->tensors[i], &s->options[s->begin[i]]);
    }
    return ERR_OK;
}

/* Always over all tensors in their order: the same choice has the same sums. */
static struct totals add_up(const struct search *s)
{
    struct totals totals = {0.0, 0.0};
    for (size_t i = 0; i < s->count; i++) {
        totals.spent += s->options[s->at[i]].spent;
        totals.lost += s->options[s->at[i]].lost;
    }
    return totals;
}

static double slope_of(const struct option *from, const struct option *to)
{
    return (from->lost - to->lost) / (to->spent - from->spent);
}

/* The lower convex hull of a tensor's options as steps, flatter and flatter. */
static size_t list_steps(const struct search *s, size_t tensor, struct step *out)
{
    size_t corners[MIX_TARGET_CANDIDATES_MAX];
    size_t count = 0;
    for (size_t i = s->begin[tensor]; i < s->begin[tensor + 1]; i++) {
        while (count >= 2 &&
               slope_of(&s->options[corners[count - 2]], &s->options[corners[count - 1]]) <
                   slope_of(&s->options[corners[count - 1]], &s->options[i]))
            count--;
        corners[count++] = i;
    }
    for (size_t i = 0; i + 1 < count; i++)
        out[i] = (struct step){slope_of(&s->options[corners[i]], &s->options[corners[i + 1]]),
                               tensor, corners[i], corners[i + 1]};
    return count - 1;
}

static int compare_steps(const void *left, const void *right)
{
    const struct step *a = left, *b = right;
    if (a->slope != b->slope)
        return a->slope > b->slope ? -1 : 1;
    if (a->tensor != b->tensor)
        return a->tensor < b->tensor ? -1 : 1;
    return (a->from > b->from) - (a->from < b->from);
}

/* From the options that spend least, the steps that win most for what they spend. */
static void climb(struct search *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        count += list_steps(s, i, &s->steps[count]);
    qsort(s->steps, count, sizeof *s->steps, compare_steps);
    for (size_t i = 0; i < count; i++) {
        const struct step *step = &s->steps[i];
        if (s->at[step->tensor] != step->from) /* the step before was too much */
            continue;
        s->at[step->tensor] = step->to;
        if (add_up(s).spent > s->limit)
            s->at[step->tensor] = step->from;
    }
}

static int compare_moves(const void *left, const void *right)
{
    const struct move *a = left, *b = right;
    if (a->spent != b->spent)
        return a->spent < b->spent ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to); /* options of tensors lie in their order */
}

/* Lists all moves, less spent first, and for each number of them the two that lose least. */
static size_t list_moves(struct search *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct option *now = &s->options[s->at[i]];
        for (size_t k = s->begin[i]; k < s->begin[i + 1]; k++) {
            if (k != s->at[i])
                s->moves[count++] = (struct move){s->options[k].spent - now->spent,
                                                  s->options[k].lost - now->lost, i, k};
        }
    }
    qsort(s->moves, count, sizeof *s->moves, compare_moves);
    s->least[0] = (struct least){count, count};
    for (size_t i = 0; i < count; i++) {
        struct least least = s->least[i];
        const struct move *m = &s->moves[i];
        if (least.first == count || m->lost < s->moves[least.first].lost) {
            if (least.first != count && s->moves[least.first].tensor != m->tensor)
                least.second = least.first;
            least.first = i;
        } else if (s->moves[least.first].tensor != m->tensor &&
                   (least.second == count || m->lost < s->moves[least.second].lost)) {
            least.second = i;
        }
        s->least[i + 1] = least;
    }
    return count;
}

/* How many of the sorted moves spend at most `slack`. */
static size_t count_within(const struct search *s, size_t count, double slack)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->moves[middle].spent <= slack)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The move of another tensor that goes best with `m`, `count` for none. */
static size_t find_partner(const struct search *s, size_t count, const struct move *m, double slack)
{
    struct least least = s->least[count_within(s, count, slack - m->spent)];
    size_t found = least.first;
    if (found != count && s->moves[found].tensor == m->tensor)
        found = least.second;
    bool helps = found != count && s->moves[found].lost < 0.0;
    return m->spent <= slack && !helps ? count : found;
}

/* Makes the move, or two of different tensors, that wins most within the limit. False when none
 * wins anything. */
static bool exchange(struct search *s)
{
    const struct totals before = add_up(s);
    const double slack = s->limit - before.spent;
    const size_t count = list_moves(s);
    size_t first = count, second = count;
    double best = 0.0;
    for (size_t i = 0; i < count; i++) {
        const struct move *m = &s->moves[i];
        size_t partner = find_partner(s, count, m, slack);
        if (partner == count && m->spent > slack)
            continue;
        double lost = m->lost + (partner != count ? s->moves[partner].lost : 0.0);
        if (lost < best) {
            best = lost;
            first = i;
            second = partner;
        }
    }
    if (first == count)
        return false;
    const struct move *a = &s->moves[first], *b = second != count ? &s->moves[second] : a;
    const size_t kept_a = s->at[a->tensor], kept_b = s->at[b->tensor];
    s->at[a->tensor] = a->to;
    s->at[b->tensor] = b->to;
    struct totals after = add_up(s);
    if (after.lost < before.lost && after.spent <= s->limit)
        return true;
    s->at[a->tensor] = kept_a; /* a matter of rounding */
    s->at[b->tensor] = kept_b;
    return false;
}

static struct mix_target_total total_of(const struct search *s)
{
    struct mix_target_total total = {0, 0.0};
    for (size_t i = 0; i < s->count; i++) {
        const struct mix_target_candidate *c =
            &s->tensors[i].candidates[s->options[s->at[i]].index];
        total.size_bytes += c->size_bytes;
        total.loss += c->loss;
    }
    return total;
}

static enum err run(struct search *s, size_t *chosen, struct mix_target_total *total)
{
    TRY(check(s->tensors, s->count));
    arena_init(&s->arena, SIZE_MAX); /* bounded by the two limits */
    enum err err;
    TRY_OUT(prepare(s));
    if (add_up(s).spent > s->limit) {
        *total = total_of(s);
        TRY_OUT(ERR_NOT_FOUND);
    }
    climb(s);
    while (exchange(s))
        continue;
    for (size_t i = 0; i < s->count; i++)
        chosen[i] = s->options[s->at[i]].index;
    *total = total_of(s);
out:
    arena_fini(&s->arena);
    return err;
}

enum err mix_target_fit(const struct mix_target_tensor *tensors, size_t count,
                        uint64_t size_bytes_max, size_t *chosen, struct mix_target_total *total)
{
    struct search s = {.tensors = tensors,
                       .count = count,
                       .limits_size = true,
                       .limit = (double)MIN(size_bytes_max, (uint64_t)SIZE_BYTES_MAX)};
    return run(&s, chosen, total);
}

enum err mix_target_reach(const struct mix_target_tensor *tensors, size_t count, double loss_max,
                          size_t *chosen, struct mix_target_total *total)
{
    struct search s = {.tensors = tensors, .count = count, .limit = loss_max};
    return loss_max == loss_max ? run(&s, chosen, total) : ERR_NOT_FINITE;
}

uint64_t mix_target_size_bytes(double target_bpw, uint64_t weights)
{
    double size_bytes = target_bpw * (double)weights / 8.0;
    if (!(size_bytes > 0.0))
        return 0;
    return size_bytes < SIZE_BYTES_MAX ? (uint64_t)size_bytes : (uint64_t)SIZE_BYTES_MAX;
}
