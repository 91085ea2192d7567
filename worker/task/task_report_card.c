/* task_report_card.c - README.md of a quantized model: what it is, what it lost, which tensors lost
 * most. */
#include "common/base/check.h"
#include "common/formats/json/json_write.h"
#include "common/recipe/recipe_quantize.h"
#include "worker/task/task_report.h"
#include "worker/task/task_settings.h"

enum { WORST_TENSORS = 10 };

#define MIB 1048576.0

static enum err put_front(const struct task_report *report, struct bytes *out)
{
    bool is_gguf = text_is(report->form, "gguf");
    bytes_append_text(out, TEXT("---\nbase_model: "));
    TRY(json_write_quoted(out, task_settings_base_model(report->recipe)));
    bytes_append_text(out, TEXT("\nbase_model_relation: quantized\n"));
    if (!is_gguf)
        bytes_append_text(out, TEXT("library_name: transformers\n"));
    bytes_append_text(out, TEXT("pipeline_tag: text-generation\ntags:\n- qfleet\n- quantized\n- "));
    bytes_append_text(out, report->form);
    bytes_append_text(out, TEXT("\n---\n\n# "));
    bytes_append_text(out, task_settings_base_model(report->recipe));
    bytes_append_text(out, TEXT(", "));
    bytes_append_text(out, report->scheme);
    bytes_append_text(out, TEXT("\n\n"));
    return bytes_status(out);
}

static void put_about(const struct task_report *report, struct bytes *out)
{
    bytes_print(out, "Quantized with qfleet: %zu tensors of %llu weights", report->tensor_count,
                (unsigned long long)report->weight_count);
    if (report->weight_count > 0)
        bytes_print(out, " in %.3f bits each",
                    8 * (double)report->size_bytes / (double)report->weight_count);
    bytes_print(out, ", method %s. `quantization.json` has all settings and figures.\n\n",
                recipe_quantize_method_word(recipe_quantize_method(report->recipe)));
}

static void put_quality(const struct task_report *report, struct bytes *out)
{
    const struct compare_sums *sums = &report->sums;
    const struct perplexity *rules = &report->scores.perplexity;
    double n = (double)sums->positions;
    if (!report->is_compared)
        return;
    bytes_append_text(out, TEXT("| | base | quantized |\n| --- | --- | --- |\n"));
    bytes_print(out, "| perplexity | %.4f | %.4f |\n", perplexity_value(rules, sums->base_loss, n),
                perplexity_value(rules, sums->result_loss, n));
    bytes_print(out, "| loss a token | %.5f | %.5f |\n", sums->base_loss / n,
                sums->result_loss / n);
    bytes_print(out, "| size (MiB) | %.1f | %.1f |\n", (double)report->scores.base_bytes / MIB,
                (double)report->scores.result_bytes / MIB);
    bytes_print(out, "| KL divergence, mean and largest | | %.6f, %.4f |\n", sums->kl / n,
                sums->kl_max);
    bytes_print(out, "| same most likely token | | %.2f %% |\n",
                100 * (double)sums->agreements / n);
    bytes_print(out, "\nPerplexity over %llu tokens in %llu rows; ",
                (unsigned long long)sums->positions, (unsigned long long)report->scores.total);
    perplexity_print_rules(rules, out);
    bytes_append_text(out, TEXT(".\n\n"));
}

static void put_target(const struct task_report *report, struct bytes *out)
{
    const struct task_report_target *t = report->target;
    if (t == NULL)
        return;
    bytes_print(out, "The types were chosen for ");
    if (t->target_bpw > 0)
        bytes_print(out, "at most %.6g bits per weight", t->target_bpw);
    else
        bytes_print(out, "a KL divergence of at most %.6g", t->target_kl);
    bytes_print(out,
                ": %.4f bits over all weights of the file, a KL divergence of %.6f predicted from "
                "each tensor alone",
                t->bits_per_weight, t->predicted_kl);
    if (report->is_compared)
        bytes_print(out, ", %.6f measured on the test text",
                    report->sums.kl / (double)report->sums.positions);
    bytes_print(out, ". `choices.json` has every type that was tried, with its figures.\n\n");
}

static void put_worst(const struct task_report *report, struct bytes *out)
{
    size_t count = MIN(report->tensor_count, (size_t)WORST_TENSORS);
    if (count == 0)
        return;
    bytes_print(out, "The tensors with the largest relative error (sum of squares of the "
                     "difference over that of the weights):\n\n"
                     "| tensor | format | error |\n| --- | --- | --- |\n");
    for (size_t i = 0; i < count; i++)
        bytes_print(out, "| `%.*s` | %.*s | %.3g |\n", TEXT_ARGS(report->tensors[i].name),
                    TEXT_ARGS(report->tensors[i].format), report->tensors[i].error);
}

enum err task_report_print_card(const struct task_report *report, struct bytes *out)
{
    TRY(put_front(report, out));
    put_about(report, out);
    put_quality(report, out);
    put_target(report, out);
    put_worst(report, out);
    return bytes_status(out);
}
