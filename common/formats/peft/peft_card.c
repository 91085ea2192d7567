/* peft_card.c - Markdown with YAML front matter. */
#include "common/formats/peft/peft_card.h"

#include <string.h>

#include "common/formats/json/json_float.h"
#include "common/formats/json/json_write.h"

static bool is_plain_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '/';
}

/* A YAML scalar: plain for a Hub id ("owner/name"), which can be read as nothing else; in JSON's
 * quotes, which YAML shares, otherwise. */
static enum err put_scalar(struct bytes *out, struct text text)
{
    bool is_plain = text.size > 1 && is_plain_character(text.data[0]) && text.data[0] != '-' &&
                    text.data[0] != '.' && memchr(text.data, '/', text.size) != NULL;
    for (size_t i = 0; is_plain && i < text.size; i++)
        is_plain = is_plain_character(text.data[i]);
    if (!is_plain)
        return json_write_quoted(out, text);
    bytes_append_text(out, text);
    return bytes_status(out);
}

static struct text base_of(const struct peft_card *card)
{
    return card->insert != NULL ? card->insert->base_model : card->config->base_model;
}

static bool is_bottleneck(const struct peft_card *card)
{
    return card->insert != NULL && card->insert->kind == PEFT_INSERT_BOTTLENECK;
}

static const char *tag_of(const struct peft_card *card)
{
    if (card->insert == NULL)
        return "lora";
    return is_bottleneck(card) ? "bottleneck-adapter" : "prompt-tuning";
}

static enum err put_front(const struct peft_card *card, struct bytes *out)
{
    bytes_append_text(out, TEXT("---\nbase_model: "));
    TRY(put_scalar(out, base_of(card)));
    bytes_append_text(out, TEXT("\nbase_model_relation: adapter\n"));
    if (card->dataset_count > 0)
        bytes_append_text(out, TEXT("datasets:\n"));
    for (size_t i = 0; i < card->dataset_count; i++) {
        bytes_append_text(out, TEXT("- "));
        TRY(put_scalar(out, card->datasets[i]));
        bytes_append_text(out, TEXT("\n"));
    }
    bool in_peft = !is_bottleneck(card);
    bytes_print(out, "library_name: %s\n", in_peft ? "peft" : "qfleet");
    bytes_print(out, "pipeline_tag: text-generation\ntags:\n- %s\n", tag_of(card));
    bytes_print(out, "%s- qfleet\n---\n", in_peft ? "- peft\n" : "");
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

static void put_row(struct bytes *out, const char *name, struct text value)
{
    bytes_print(out, "| %s | ", name);
    put_cell(out, value);
    bytes_append_text(out, TEXT(" |\n"));
}

static void put_number(struct bytes *out, const char *name, double value)
{
    char text[JSON_FLOAT_BYTES];
    put_row(out, name, (struct text){text, json_float_print_f64(value, text)});
}

static void put_targets(const struct peft_config *c, struct bytes *out)
{
    bytes_append_text(out, TEXT("| target modules | "));
    if (c->target_expression.data != NULL)
        put_cell(out, c->target_expression);
    for (size_t i = 0; c->target_expression.data == NULL && i < c->target_count; i++) {
        if (i > 0)
            bytes_append_text(out, TEXT(", "));
        put_cell(out, c->target_modules[i]);
    }
    bytes_append_text(out, TEXT(" |\n"));
}

static void put_lora(const struct peft_config *c, struct bytes *out)
{
    bytes_print(out, "| rank | %u |\n", c->r);
    put_number(out, "alpha", c->lora_alpha);
    put_number(out, "dropout", c->lora_dropout);
    put_targets(c, out);
}

static void put_insert(const struct peft_insert_config *c, struct bytes *out)
{
    if (c->kind == PEFT_INSERT_PROMPT) {
        bytes_print(out, "| vectors before each sample | %u |\n", c->vector_count);
        return;
    }
    put_row(out, "adapter", c->method);
    bytes_print(out, "| reduction factor | %u |\n", c->reduction_factor);
    put_row(out, "non-linearity", c->non_linearity);
    put_number(out, "scaling", c->scaling);
}

static void put_table(const struct peft_card *card, struct bytes *out)
{
    struct text revision = card->insert != NULL ? card->insert->revision : card->config->revision;
    bytes_append_text(out, TEXT("| | |\n| --- | --- |\n"));
    put_row(out, "base model", base_of(card));
    if (revision.data != NULL)
        put_row(out, "revision", revision);
    if (card->insert != NULL)
        put_insert(card->insert, out);
    else
        put_lora(card->config, out);
    for (size_t i = 0; i < card->fact_count; i++) {
        bytes_append_text(out, TEXT("| "));
        put_cell(out, card->facts[i].name);
        bytes_append_text(out, TEXT(" | "));
        put_cell(out, card->facts[i].value);
        bytes_append_text(out, TEXT(" |\n"));
    }
}

static void put_opening(const struct peft_card *card, struct bytes *out)
{
    if (is_bottleneck(card)) {
        bytes_append_text(out, TEXT("Bottleneck adapters, trained with qfleet. There is no common "
                                    "format for them; qfleet runs them:\n\n"
                                    "```sh\n"
                                    "qctl generate BASE_MODEL --adapter .\n"
                                    "```\n\n"));
        return;
    }
    bytes_append_text(out, card->insert != NULL ? TEXT("A tuned prompt") : TEXT("A LoRA adapter"));
    bytes_append_text(out, TEXT(", trained with qfleet. It loads in PEFT:\n\n"
                                "```python\n"
                                "from peft import AutoPeftModelForCausalLM\n"
                                "model = AutoPeftModelForCausalLM.from_pretrained(\".\")\n"
                                "```\n\n"));
}

enum err peft_card_print(const struct peft_card *card, struct bytes *out)
{
    TRY(put_front(card, out));
    bytes_append_text(out, TEXT("\n# "));
    put_cell(out, card->title);
    bytes_append_text(out, TEXT("\n\n"));
    put_opening(card, out);
    put_table(card, out);
    if (card->recipe.size > 0) {
        bytes_append_text(out, TEXT("\n<details><summary>Recipe, every default resolved</summary>\n"
                                    "\n````yaml\n"));
        bytes_append_text(out, card->recipe);
        if (card->recipe.data[card->recipe.size - 1] != '\n')
            bytes_append_text(out, TEXT("\n"));
        bytes_append_text(out, TEXT("````\n\n</details>\n"));
    }
    return bytes_status(out);
}
