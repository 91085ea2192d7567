/* task_report_merge.c - merge.json and the card of a merged model. */
#include <stdio.h>

#include "common/base/check.h"
#include "worker/task/task_report.h"
#include "worker/task/task_settings.h"

enum { REPORT_BYTES_MAX = 1 << 20 };

#define MIB 1048576.0

static bool is_opened_in_bits(const struct recipe *recipe)
{
    return recipe->load_in_4bit || recipe->load_in_8bit;
}

/* Of the two bases that the adapter could go into, the one that loses less; NULL: there is one. */
static const char *better_of(const struct task_report_merge *m)
{
    bool into_full = m->recipe->merge == RECIPE_MERGE_FULL;
    double full = into_full ? m->merged.result_loss : m->full.result_loss;
    double dequantized = into_full ? m->merged.base_loss : m->merged.result_loss;
    if (!is_opened_in_bits(m->recipe) || (!into_full && !m->has_full))
        return NULL;
    return recipe_merge_word(full < dequantized ? RECIPE_MERGE_FULL : RECIPE_MERGE_DEQUANTIZED);
}

/* ---- merge.json ---- */

static void put_quality(struct json_write *w, const struct task_report_merge *m)
{
    const struct perplexity *rules = &m->scores.perplexity;
    uint64_t n = m->merged.positions;
    const char *better = better_of(m);
    json_write_object_begin(w, "quality");
    task_report_put_rules(w, rules);
    json_write_u64(w, "rows", m->scores.total);
    json_write_u64(w, "tokens_scored", n);
    task_report_put_losses(w, "trained", rules, m->merged.base_loss, n);
    task_report_put_losses(w, "merged", rules, m->merged.result_loss, n);
    if (m->has_full)
        task_report_put_losses(w, "full", rules, m->full.result_loss, n);
    if (better != NULL)
        json_write_text(w, "better", text_of(better));
    json_write_object_end(w);
    json_write_object_begin(w, "size");
    json_write_u64(w, "base_bytes", m->scores.base_bytes);
    json_write_u64(w, "merged_bytes", m->scores.result_bytes);
    json_write_object_end(w);
}

static enum err print_json(const struct task_report_merge *m, struct bytes *out)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, REPORT_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "base_model", task_settings_base_model(m->recipe));
    json_write_text(&w, "merge", text_of(recipe_merge_word(m->recipe->merge)));
    json_write_text(&w, "profile", text_of(recipe_profile_name(m->recipe)));
    if (m->is_measured)
        put_quality(&w, m);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

/* ---- README.md ---- */

static void put_row(const struct task_report_merge *m, const char *name, double loss_sum,
                    struct bytes *out)
{
    const struct perplexity *rules = &m->scores.perplexity;
    double n = (double)m->merged.positions;
    bytes_print(out, "| %s | %.5f | %.4f |\n", name, loss_sum / n,
                perplexity_value(rules, loss_sum, n));
}

static void put_table(const struct task_report_merge *m, struct bytes *out)
{
    const char *better = better_of(m);
    bytes_append_text(out, TEXT("| | loss a token | perplexity |\n| --- | --- | --- |\n"));
    put_row(m, "base with its adapter, as trained", m->merged.base_loss, out);
    put_row(m, "this model", m->merged.result_loss, out);
    if (m->has_full)
        put_row(m, "base with all its bits, with the adapter", m->full.result_loss, out);
    bytes_print(out, "\nHeld-out loss over %llu tokens in %llu rows; ",
                (unsigned long long)m->merged.positions, (unsigned long long)m->scores.total);
    perplexity_print_rules(&m->scores.perplexity, out);
    bytes_print(out, ". The weights take %.1f MiB, those of the base %.1f MiB.\n",
                (double)m->scores.result_bytes / MIB, (double)m->scores.base_bytes / MIB);
    if (better != NULL)
        bytes_print(out, "Of the two bases that the adapter can go into, `merge: %s` loses less.\n",
                    better);
}

static enum err print_card(const struct task_report_merge *m, struct bytes *out)
{
    struct text base = task_settings_base_model(m->recipe);
    bool is_full = m->recipe->merge == RECIPE_MERGE_FULL;
    bytes_append_text(out, TEXT("---\nbase_model: "));
    TRY(json_write_quoted(out, base));
    bytes_append_text(out, TEXT("\nbase_model_relation: finetune\nlibrary_name: transformers\n"
                                "pipeline_tag: text-generation\ntags:\n- qfleet\n- merged\n"
                                "---\n\n# "));
    bytes_append_text(out, base);
    bytes_print(out,
                ", fine-tuned\n\nTrained with qfleet: a LoRA adapter, merged into %s. The adapter "
                "by itself is in `adapter/`.\n",
                is_full ? "the weights of its base" : "its base as training saw it, dequantized");
    if (m->is_measured) {
        bytes_append_text(out, TEXT("\n"));
        put_table(m, out);
    }
    return bytes_status(out);
}

/* ---- the files ---- */

static enum err put_file(struct task_run *run, const char *name, enum err printed,
                         struct bytes *text, struct err_text *et)
{
    enum err err = printed == ERR_OK ? bytes_status(text) : printed;
    if (err == ERR_OK)
        err = task_run_output(run, name, bytes_span(text), false, et);
    bytes_clear(text);
    return err;
}

enum err task_report_merge(struct task_run *run, bool card, struct err_text *et)
{
    struct task_report_merge m = {.recipe = &run->recipe};
    struct scores full = {0};
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err;
    TRY_OUT(task_report_fold(run, "losses", &m.is_measured, &m.scores, &m.merged, et));
    TRY_OUT(task_report_fold(run, "losses_full", &m.has_full, &full, &m.full, et));
    TRY_OUT(put_file(run, "merge.json", print_json(&m, &text), &text, et));
    if (card)
        TRY_OUT(put_file(run, "README.md", print_card(&m, &text), &text, et));
    err = ERR_OK;
    run->result->loss_sum = m.merged.result_loss;
    run->result->weight = (double)m.merged.positions;
out:
    bytes_fini(&text);
    return err;
}
