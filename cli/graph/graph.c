/* graph.c - which stages are one line, and in which order the lines stand. */
#include "cli/graph/graph.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/message/state.h"

enum { RUNS_MAX = 3, LABEL_BYTES = 64, NONE = UINT32_MAX };

/* While a graph is built. */
struct build {
    const struct stage_row *rows;
    uint32_t count;
    struct arena *arena;
    uint32_t leader[LIMIT_JOB_STAGES];       /* the stage whose line a stage is on */
    uint32_t line_of[LIMIT_JOB_STAGES];      /* of leaders */
    uint32_t variant_leader[LIMIT_VARIANTS]; /* the variant whose lines a variant is on */
    uint32_t variant_count;
    uint32_t order[LIMIT_JOB_STAGES]; /* leaders, as they stand */
    uint32_t order_count;
};

/* A stage that a variant has for itself, or shares with some: its name says more than its kind. */
static bool is_of_variant(const struct stage_row *row)
{
    return !text_is(row->name, state_kind_word((enum stage_kind)row->kind)) &&
           row->variant < LIMIT_VARIANTS;
}

/* The n-th stage of the variant, or NONE. */
static uint32_t stage_of(const struct build *b, uint32_t variant, uint32_t n)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (is_of_variant(&b->rows[i]) && b->rows[i].variant == variant && n-- == 0)
            return i;
    }
    return NONE;
}

/* The same kinds in the same states. */
static bool looks_like(const struct build *b, uint32_t one, uint32_t other)
{
    for (uint32_t n = 0;; n++) {
        uint32_t i = stage_of(b, one, n), k = stage_of(b, other, n);
        if (i == NONE || k == NONE)
            return i == k && n > 0;
        if (b->rows[i].kind != b->rows[k].kind || b->rows[i].state != b->rows[k].state)
            return false;
    }
}

static void group_variants(struct build *b)
{
    for (uint32_t v = 0; v < b->variant_count; v++) {
        b->variant_leader[v] = v;
        for (uint32_t k = 0; k < v && b->variant_leader[v] == v; k++) {
            if (b->variant_leader[k] == k && looks_like(b, k, v))
                b->variant_leader[v] = k;
        }
    }
}

/* Groups of too few are taken apart again. */
static void split_small_groups(struct build *b)
{
    uint32_t sizes[LIMIT_VARIANTS] = {0};
    for (uint32_t v = 0; v < b->variant_count; v++)
        sizes[b->variant_leader[v]]++;
    for (uint32_t v = 0; v < b->variant_count; v++) {
        if (sizes[b->variant_leader[v]] < GRAPH_FOLD_MIN)
            b->variant_leader[v] = v;
    }
}

static void find_leaders(struct build *b, bool folds)
{
    b->variant_count = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        b->leader[i] = i;
        if (is_of_variant(&b->rows[i]))
            b->variant_count = MAX(b->variant_count, b->rows[i].variant + 1);
    }
    if (!folds)
        return;
    group_variants(b);
    split_small_groups(b);
    for (uint32_t v = 0; v < b->variant_count; v++) {
        for (uint32_t n = 0, i; (i = stage_of(b, v, n)) != NONE; n++)
            b->leader[i] = stage_of(b, b->variant_leader[v], n);
    }
}

/* What the stages of a line need of other lines, as their leaders. */
static struct stage_set needs_of(const struct build *b, uint32_t leader)
{
    struct stage_set needs = {{0}};
    for (uint32_t i = leader; i < b->count; i++) {
        if (b->leader[i] != leader)
            continue;
        struct stage_set set = stage_set_of_row(&b->rows[i]);
        for (uint32_t n = 0; n < i; n++) {
            if (stage_set_has(set, n) && b->leader[n] != leader)
                stage_set_add(&needs, b->leader[n]);
        }
    }
    return needs;
}

/* Puts what `sink` needs before it, deepest first. False: lines need each other in a circle, which
 * only folding can make. */
static bool place(struct build *b, const struct stage_set *needs, uint32_t sink,
                  struct stage_set *placed)
{
    uint32_t stack[LIMIT_JOB_STAGES], depth = 0;
    struct stage_set open = stage_set_of(sink);
    stack[depth++] = sink;
    while (depth > 0) {
        uint32_t at = stack[depth - 1];
        struct stage_set left = stage_set_without(needs[at], *placed);
        if (stage_set_is_empty(left)) {
            b->order[b->order_count++] = at;
            stage_set_add(placed, at);
            depth--;
            continue;
        }
        uint32_t next = stage_set_first(left);
        if (stage_set_has(open, next))
            return false;
        stage_set_add(&open, next);
        stack[depth++] = next;
    }
    return true;
}

static bool set_order(struct build *b)
{
    struct stage_set needs[LIMIT_JOB_STAGES], placed = {{0}}, wanted = {{0}};
    b->order_count = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        needs[i] = (struct stage_set){{0}};
        if (b->leader[i] == i)
            needs[i] = needs_of(b, i);
        wanted = stage_set_union(wanted, needs[i]);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        bool is_sink = b->leader[i] == i && !stage_set_has(wanted, i);
        if (is_sink && !place(b, needs, i, &placed))
            return false;
    }
    for (uint32_t i = 0; i < b->count; i++) { /* a circle has no sink */
        if (b->leader[i] == i && !stage_set_has(placed, i))
            return false;
    }
    return true;
}

/* "0..12,15..39": the variants on the leader's line; how many where that would be long. */
static const char *label_of(const struct build *b, uint32_t leader, uint32_t count)
{
    char label[LABEL_BYTES] = "";
    uint32_t runs = 0, first = 0;
    size_t used = 0;
    for (uint32_t v = 0; v < b->variant_count; v++) {
        bool is_on = b->variant_leader[v] == leader;
        bool ends = is_on && (v + 1 == b->variant_count || b->variant_leader[v + 1] != leader);
        if (is_on && (v == 0 || b->variant_leader[v - 1] != leader))
            first = v;
        if (!ends)
            continue;
        if (++runs > RUNS_MAX)
            return arena_print(b->arena, "%u of %u", count, b->variant_count);
        used += (size_t)snprintf(label + used, sizeof label - used,
                                 first == v ? "%s%u" : "%s%u..%u", runs > 1 ? "," : "", first, v);
    }
    return arena_print(b->arena, "%s", label);
}

/* The stages of a leader together. */
static enum err fill_line(const struct build *b, uint32_t leader, struct graph_line *line)
{
    const struct stage_row *first = &b->rows[leader];
    *line = (struct graph_line){.row = first, .seconds_min = first->seconds};
    for (uint32_t i = leader; i < b->count; i++) {
        const struct stage_row *row = &b->rows[i];
        if (b->leader[i] != leader)
            continue;
        line->count++;
        line->done += row->done;
        line->running += row->running;
        line->total += row->total;
        line->seconds = MAX(line->seconds, row->seconds);
        line->seconds_min = MIN(line->seconds_min, row->seconds);
    }
    const char *label = line->count > 1 ? label_of(b, first->variant, line->count) : NULL;
    line->name = label == NULL ? arena_copy_text(b->arena, first->name)
                               : arena_print(b->arena, "%s[%s]",
                                             state_kind_word((enum stage_kind)first->kind), label);
    return line->name == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
}

/* Edges between lines, by their place. */
static void link_lines(struct build *b, struct graph *graph)
{
    for (uint32_t at = 0; at < b->order_count; at++)
        b->line_of[b->order[at]] = at;
    for (uint32_t at = 0; at < b->order_count; at++) {
        struct stage_set needs = needs_of(b, b->order[at]);
        for (uint32_t n = 0; n < b->count; n++) {
            if (stage_set_has(needs, n))
                stage_set_add(&graph->lines[at].after, b->line_of[n]);
        }
    }
}

enum err graph_build(const struct stage_row *rows, uint32_t count, bool folds, struct arena *arena,
                     struct graph *out)
{
    if (count > LIMIT_JOB_STAGES)
        return ERR_LIMIT;
    struct build *b = arena_alloc(arena, 1, sizeof *b);
    struct graph graph = {.lines = arena_alloc(arena, count, sizeof *graph.lines)};
    if (b == NULL || (graph.lines == NULL && count > 0))
        return ERR_OUT_OF_MEMORY;
    *b = (struct build){.rows = rows, .count = count, .arena = arena};
    find_leaders(b, folds);
    if (!set_order(b)) {
        find_leaders(b, false);
        bool is_ordered = set_order(b); /* edges point backwards, so it is */
        ASSERT(is_ordered);
    }
    graph.count = b->order_count;
    for (uint32_t at = 0; at < b->order_count; at++)
        TRY(fill_line(b, b->order[at], &graph.lines[at]));
    link_lines(b, &graph);
    *out = graph;
    return ERR_OK;
}
