/* model_card.c - Markdown with YAML front matter. */
#include "cli/publish/model_card.h"

#include <math.h>
#include <string.h>

#include "cli/publish/modelfile.h"
#include "common/base/check.h"
#include "common/formats/json/json_write.h"

static const struct {
    const char *library; /* library_name of the hub */
    const char *tag;
    const char *opening;
} kinds[] = {
    [PUBLICATION_LORA] = {"peft", "lora", "A LoRA adapter"},
    [PUBLICATION_PROMPT] = {"peft", "prompt-tuning", "A tuned prompt"},
    [PUBLICATION_BOTTLENECK] = {"qfleet", "bottleneck-adapter", "Bottleneck adapters"},
    [PUBLICATION_MODEL] = {"transformers", NULL, "A language model"},
    [PUBLICATION_GGUF] = {"gguf", "gguf", "A language model in one file"},
};

/* "adapter", "finetune" or "quantized": the hub's words for what a base model is to this. */
static const char *relation_of(const struct publication *p)
{
    if (p->kind == PUBLICATION_LORA || p->kind == PUBLICATION_PROMPT ||
        p->kind == PUBLICATION_BOTTLENECK)
        return "adapter";
    return p->is_quantized && !p->is_trained ? "quantized" : "finetune";
}

/* In JSON's quotes, which YAML shares. */
static enum err put_quoted(struct bytes *out, const char *before, struct text text)
{
    bytes_append_text(out, text_of(before));
    TRY(json_write_quoted(out, text));
    bytes_append_text(out, TEXT("\n"));
    return bytes_status(out);
}

static bool is_use(const struct publication_data *data, const char *use)
{
    return text_is(data->use, use);
}

/* A file that is used twice is named once. */
static bool is_named_before(const struct publication *p, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (is_use(&p->data[i], "training") && text_equal(p->data[i].name, p->data[index].name))
            return true;
    return false;
}

static enum err put_datasets(const struct publication *p, struct bytes *out)
{
    bool begun = false;
    for (size_t i = 0; i < p->data_count; i++) {
        if (!is_use(&p->data[i], "training") || is_named_before(p, i))
            continue;
        if (!begun)
            bytes_append_text(out, TEXT("datasets:\n"));
        begun = true;
        TRY(put_quoted(out, "- ", p->data[i].name));
    }
    return bytes_status(out);
}

/* The files that the held-out loss is of; where none was given, a share of the training's. */
static struct text held_out_of(const struct publication *p)
{
    for (size_t i = 0; i < p->data_count; i++)
        if (is_use(&p->data[i], "held out"))
            return p->data[i].name;
    return TEXT("a share of the training data");
}

/* Only what was measured: the loss of held-out tokens. */
static enum err put_results(const struct publication *p, struct bytes *out)
{
    if (!isfinite(p->eval_loss))
        return ERR_OK;
    TRY(put_quoted(out, "model-index:\n- name: ", p->name));
    TRY(put_quoted(out,
                   "  results:\n"
                   "  - task:\n"
                   "      type: text-generation\n"
                   "    dataset:\n"
                   "      type: held-out\n"
                   "      name: ",
                   held_out_of(p)));
    bytes_print(out,
                "    metrics:\n"
                "    - type: loss\n"
                "      name: held-out loss\n"
                "      value: %.6f\n",
                p->eval_loss);
    return bytes_status(out);
}

static enum err put_front(const struct publication *p, struct bytes *out)
{
    bytes_append_text(out, TEXT("---\n"));
    if (p->base_model.size > 0) {
        TRY(put_quoted(out, "base_model: ", p->base_model));
        bytes_print(out, "base_model_relation: %s\n", relation_of(p));
    }
    TRY(put_datasets(p, out));
    if (p->license.size > 0)
        TRY(put_quoted(out, "license: ", p->license));
    bytes_print(out, "library_name: %s\npipeline_tag: text-generation\ntags:\n",
                kinds[p->kind].library);
    if (kinds[p->kind].tag != NULL)
        bytes_print(out, "- %s\n", kinds[p->kind].tag);
    bytes_append_text(out, TEXT("- qfleet\n"));
    TRY(put_results(p, out));
    bytes_append_text(out, TEXT("---\n"));
    return bytes_status(out);
}

/* A cell of a table: one line, no column of its own. */
static void put_cell(struct bytes *out, struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '|')
            bytes_append_text(out, TEXT("\\|"));
        else
            bytes_append(out, c == '\n' || c == '\r' ? " " : &c, 1);
    }
}

static void put_row(struct bytes *out, struct text name, struct text value)
{
    bytes_append_text(out, TEXT("| "));
    put_cell(out, name);
    bytes_append_text(out, TEXT(" | "));
    put_cell(out, value);
    bytes_append_text(out, TEXT(" |\n"));
}

static void put_facts(const struct publication *p, struct bytes *out)
{
    bytes_append_text(out, TEXT("\n## How it came about\n\n| | |\n| --- | --- |\n"));
    for (size_t i = 0; i < p->fact_count; i++)
        put_row(out, p->facts[i].name, p->facts[i].value);
    if (p->data_count == 0)
        return;
    bytes_append_text(out, TEXT("\n| data | for | bytes | BLAKE2b tree |\n"
                                "| --- | --- | ---: | --- |\n"));
    for (size_t i = 0; i < p->data_count; i++) {
        const struct publication_data *data = &p->data[i];
        bytes_append_text(out, TEXT("| "));
        put_cell(out, data->name);
        bytes_print(out, " | %.*s | %llu | `%.*s` |\n", TEXT_ARGS(data->use),
                    (unsigned long long)data->size_bytes, TEXT_ARGS(data->digest));
    }
}

static void put_recipe(const struct publication *p, struct bytes *out)
{
    bytes_append_text(out, TEXT("\n<details><summary>Recipe, every default settled (also in "
                                "recipe.yml)</summary>\n\n````yaml\n"));
    bytes_append_text(out, p->recipe);
    if (p->recipe.size > 0 && p->recipe.data[p->recipe.size - 1] != '\n')
        bytes_append_text(out, TEXT("\n"));
    bytes_append_text(out, TEXT("````\n\n</details>\n"));
}

static const char *deed_of(const struct publication *p)
{
    if (p->is_trained)
        return p->is_quantized ? "trained and quantized" : "trained";
    return p->is_quantized ? "quantized" : "merged";
}

enum err model_card_print(const struct publication *p, struct bytes *out)
{
    TRY(put_front(p, out));
    bytes_append_text(out, TEXT("\n# "));
    put_cell(out, p->name);
    bytes_print(out, "\n\n%s, %s with qfleet", kinds[p->kind].opening, deed_of(p));
    if (p->base_model.size > 0) {
        bytes_append_text(out, TEXT(" from "));
        put_cell(out, p->base_model);
    }
    bytes_append_text(out, TEXT(".\n"));
    TRY(modelfile_print_commands(p, out));
    put_facts(p, out);
    put_recipe(p, out);
    return bytes_status(out);
}
