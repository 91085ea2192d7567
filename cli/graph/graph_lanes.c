/* graph_lanes.c - see the picture in graph_lanes.h. */
#include "cli/graph/graph_lanes.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

/* A lane that goes by, one that feeds the node and goes on or ends; the same right of a lane that
 * feeds the node; the node. */
struct glyphs {
    const char *pass, *feed, *end;
    const char *pass_over, *feed_over, *end_over;
    const char *node;
};

static const struct glyphs unicode_glyphs = {"│ ", "├─", "└─", "│─", "┼─", "┴─", "● "};
static const struct glyphs ascii_glyphs = {"| ", "|-", "`-", "|-", "+-", "`-", "* "};

void graph_lanes_init(struct graph_lanes *lanes, const struct graph *graph, uint32_t shown,
                      bool with_unicode)
{
    *lanes = (struct graph_lanes){.graph = graph,
                                  .shown = MIN(MAX(shown, 1u), (uint32_t)GRAPH_LANES_MAX),
                                  .with_unicode = with_unicode};
}

/* Whether a line from `from` on needs `line`. */
static bool is_needed(const struct graph *graph, uint32_t from, uint32_t line)
{
    for (uint32_t i = from; i < graph->count; i++) {
        if (stage_set_has(graph->lines[i].after, line))
            return true;
    }
    return false;
}

static void append(char out[GRAPH_LANES_BYTES], const char *text)
{
    size_t used = strlen(out);
    (void)snprintf(out + used, GRAPH_LANES_BYTES - used, "%s", text);
}

static const char *glyph_of(const struct glyphs *glyphs, bool feeds, bool goes_on, bool joined)
{
    if (!feeds)
        return joined ? glyphs->pass_over : glyphs->pass;
    if (goes_on)
        return joined ? glyphs->feed_over : glyphs->feed;
    return joined ? glyphs->end_over : glyphs->end;
}

size_t graph_lanes_next(struct graph_lanes *lanes, char out[GRAPH_LANES_BYTES])
{
    const struct glyphs *glyphs = lanes->with_unicode ? &unicode_glyphs : &ascii_glyphs;
    const struct graph *graph = lanes->graph;
    const struct graph_line *line = &graph->lines[lanes->at];
    uint32_t drawn = MIN(lanes->count, lanes->shown), kept = 0;
    bool joined = false;
    out[0] = '\0';
    for (uint32_t l = 0; l < drawn; l++) {
        /* The last lane stands for itself and all after it. */
        uint32_t end = l + 1 == drawn ? lanes->count : l + 1;
        bool feeds = false, goes_on = false;
        for (uint32_t k = l; k < end; k++) {
            feeds |= stage_set_has(line->after, lanes->lane[k]);
            goes_on |= is_needed(graph, lanes->at + 1, lanes->lane[k]);
        }
        append(out, glyph_of(glyphs, feeds, goes_on, joined));
        joined |= feeds;
    }
    append(out, glyphs->node);
    for (uint32_t l = 0; l < lanes->count; l++) {
        if (is_needed(graph, lanes->at + 1, lanes->lane[l]))
            lanes->lane[kept++] = lanes->lane[l];
    }
    if (is_needed(graph, lanes->at + 1, lanes->at))
        lanes->lane[kept++] = lanes->at;
    lanes->count = kept;
    lanes->at++;
    return 2 * (size_t)(drawn + 1);
}
