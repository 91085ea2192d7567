/* variants.c - a table of its own, in `qctl show` and at the end of `qctl run`. */
#include "cli/command/variants.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/render/human.h"
#include "cli/render/table.h"
#include "common/base/check.h"
#include "common/message/state.h"

const char *variants_progress(struct text stage, uint64_t done, uint64_t total,
                              char out[VARIANTS_PROGRESS_BYTES])
{
    if (total > 0)
        (void)snprintf(out, VARIANTS_PROGRESS_BYTES, "%.*s %" PRIu64 "/%" PRIu64, TEXT_ARGS(stage),
                       done, total);
    else
        (void)snprintf(out, VARIANTS_PROGRESS_BYTES, "%.*s", TEXT_ARGS(stage));
    return out;
}

enum err variants_print(struct invocation *invocation, const struct job_row *row)
{
    static const struct table_column columns[] = {
        {"VARIANT", TABLE_LEFT}, {"STATE", TABLE_LEFT}, {"STAGE", TABLE_LEFT},
        {"LOSS", TABLE_RIGHT},   {"EVAL", TABLE_RIGHT}, {"DETAIL", TABLE_LEFT},
    };
    struct table table;
    if (row->variants_count == 0)
        return ERR_OK;
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < row->variants_count; i++) {
        const struct variant_row *variant = &row->variants[i];
        char progress[VARIANTS_PROGRESS_BYTES], text[HUMAN_BYTES];
        table_row(&table);
        table_cell(&table, 0, STYLE_BOLD, "%.*s", TEXT_ARGS(variant->name));
        table_cell(&table, 1, STYLE_PLAIN, "%s",
                   state_stage_word((enum stage_state)variant->state));
        table_cell(&table, 2, STYLE_PLAIN, "%s",
                   variants_progress(variant->stage, variant->done, variant->total, progress));
        table_cell(&table, 3, STYLE_PLAIN, "%s", human_number(variant->loss, text));
        table_cell(&table, 4, STYLE_PLAIN, "%s", human_number(variant->eval_loss, text));
        table_cell(&table, 5, variant->is_best ? STYLE_GOOD : STYLE_BAD, "%s%.*s",
                   variant->is_best ? "best" : "", TEXT_ARGS(variant->detail));
    }
    enum err err = table_print(&table, &invocation->style, invocation->header, invocation->out);
    table_fini(&table);
    return err;
}
