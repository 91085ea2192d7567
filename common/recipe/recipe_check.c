/* recipe_check.c - rules over several keys. Each message names the keys and says what to do. */
#include "common/recipe/recipe_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/recipe/recipe_adapt.h"
#include "common/recipe/recipe_effect.h"
#include "common/recipe/recipe_schema.h"
#include "common/recipe/recipe_variant.h"

static bool given(const struct recipe *recipe, enum recipe_key key)
{
    enum recipe_source source = recipe->origins[key].source;
    return source == RECIPE_FILE || source == RECIPE_FLAG;
}

/* "tiny.yml:3:1: warmup_ratio" or, for a key without a place, "tiny.yml: warmup_ratio". */
static const char *place_of(const struct recipe_load *load, enum recipe_key key, char out[256])
{
    const struct recipe_origin *origin = &load->recipe->origins[key];
    const char *name = origin->alias != NULL ? origin->alias : recipe_key_name(key);
    if (origin->source == RECIPE_FILE)
        (void)snprintf(out, 256, "%s:%u:%u: %s", load->recipe->file_name, origin->line,
                       origin->column, name);
    else if (origin->source == RECIPE_FLAG)
        (void)snprintf(out, 256, "--set %s", name);
    else
        (void)snprintf(out, 256, "%s: %s", load->recipe->file_name, name);
    return out;
}

enum err recipe_check_fail(const struct recipe_load *load, enum recipe_key key, const char *text)
{
    char place[256];
    return error_set(load->et, ERR_RECIPE, "%s: %s", place_of(load, key, place), text);
}

/* Forgets a number. */
static void unset_number(struct recipe *recipe, enum recipe_key key)
{
    const struct recipe_field *field = &recipe_schema_root()->fields[key];
    ASSERT(field->kind == RECIPE_KIND_U64 || field->kind == RECIPE_KIND_F64);
    memset((char *)recipe + field->offset, 0, sizeof(uint64_t));
    recipe->origins[key] = (struct recipe_origin){.source = RECIPE_ABSENT};
}

/* Two numbers that exclude each other. A flag replaces the file's key of the pair, so that --set
 * can switch between them. */
static enum err exclude(struct recipe_load *load, enum recipe_key a, enum recipe_key b)
{
    struct recipe *recipe = load->recipe;
    if (!given(recipe, a) || !given(recipe, b))
        return ERR_OK;
    if (recipe->origins[a].source != recipe->origins[b].source) {
        unset_number(recipe, recipe->origins[a].source == RECIPE_FILE ? a : b);
        return ERR_OK;
    }
    char place[256];
    return error_set(load->et, ERR_RECIPE, "%s: excludes %s (line %u); give one of them",
                     place_of(load, b, place), recipe_key_name(a), recipe->origins[a].line);
}

static void unset_words(struct recipe *recipe)
{
    recipe->lora_target_modules = NULL;
    recipe->lora_target_modules_count = 0;
    recipe->origins[RECIPE_KEY_lora_target_modules].source = RECIPE_ABSENT;
}

/* `lora_target_modules: all-linear` is how others spell lora_target_linear. */
static void settle_targets(struct recipe *recipe)
{
    if (recipe->lora_target_modules_count != 1)
        return;
    static const char *const all[] = {"all", "all-linear", "all_linear"};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (recipe->lora_target_modules_count == 1 &&
            strcmp(recipe->lora_target_modules[0], all[i]) == 0) {
            recipe->origins[RECIPE_KEY_lora_target_linear] =
                recipe->origins[RECIPE_KEY_lora_target_modules];
            recipe->lora_target_linear = true;
            unset_words(recipe);
        }
    }
}

/* batch_size is micro_batch_size x gradient_accumulation_steps: the missing one follows, three are
 * checked. It does not appear in the settled recipe. */
static enum err settle_batch(struct recipe_load *load)
{
    struct recipe *r = load->recipe;
    if (!given(r, RECIPE_KEY_batch_size))
        return ERR_OK;
    bool has_micro = given(r, RECIPE_KEY_micro_batch_size);
    bool has_steps = given(r, RECIPE_KEY_gradient_accumulation_steps);
    uint64_t micro = has_micro ? r->micro_batch_size : 1;
    uint64_t steps = has_steps ? r->gradient_accumulation_steps : r->batch_size / micro;
    if (has_steps && !has_micro)
        micro = r->batch_size / steps;
    char place[256];
    if (micro * steps != r->batch_size)
        return error_set(
            load->et, ERR_RECIPE,
            "%s: expected micro_batch_size x gradient_accumulation_steps, found %" PRIu64
            " with %s of %" PRIu64 "; leave batch_size out",
            place_of(load, RECIPE_KEY_batch_size, place), r->batch_size,
            has_micro ? "a micro_batch_size" : "gradient_accumulation_steps",
            has_micro ? micro : steps);
    if (!has_micro) {
        r->micro_batch_size = micro;
        r->origins[RECIPE_KEY_micro_batch_size].source = RECIPE_DERIVED;
    }
    if (!has_steps) {
        r->gradient_accumulation_steps = steps;
        r->origins[RECIPE_KEY_gradient_accumulation_steps].source = RECIPE_DERIVED;
    }
    r->batch_size = 0;
    r->origins[RECIPE_KEY_batch_size].source = RECIPE_ABSENT;
    return ERR_OK;
}

enum err recipe_check_given(struct recipe_load *load)
{
    static const enum recipe_key pairs[][2] = {
        {RECIPE_KEY_warmup_steps, RECIPE_KEY_warmup_ratio},
        {RECIPE_KEY_eval_steps, RECIPE_KEY_evals_per_epoch},
        {RECIPE_KEY_save_steps, RECIPE_KEY_saves_per_epoch},
    };
    struct recipe *recipe = load->recipe;
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        TRY(exclude(load, pairs[i][0], pairs[i][1]));
    settle_targets(recipe);
    TRY(recipe_adapt_settle(load));
    if (recipe->lora_target_linear && recipe->lora_target_modules_count > 0)
        return recipe_check_fail(load, RECIPE_KEY_lora_target_linear,
                                 "excludes lora_target_modules; give one of them");
    return settle_batch(load);
}

/* Keys that only mean something beside another one. */
static enum err check_company(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    if (given(r, RECIPE_KEY_cosine_min_lr_ratio) && r->lr_scheduler != RECIPE_LR_SCHEDULER_COSINE)
        return recipe_check_fail(load, RECIPE_KEY_cosine_min_lr_ratio,
                                 "needs lr_scheduler: cosine");
    if (r->val_set_size > 0 && r->test_datasets_count > 0)
        return recipe_check_fail(load, RECIPE_KEY_val_set_size,
                                 "excludes test_datasets; give one of them");
    if (r->val_set_size >= 1 && (double)(uint64_t)r->val_set_size != r->val_set_size)
        return recipe_check_fail(load, RECIPE_KEY_val_set_size,
                                 "expected a part below 1 or a whole number of samples");
    return ERR_OK;
}

static enum err check_datasets(struct recipe_load *load, enum recipe_key key,
                               const struct recipe_dataset *rows, size_t count)
{
    char text[96];
    for (size_t i = 0; i < count; i++) {
        if (rows[i].path == NULL || rows[i].path[0] == '\0') {
            (void)snprintf(text, sizeof text, "entry %zu has no path; give the file to read",
                           i + 1);
            return recipe_check_fail(load, key, text);
        }
    }
    return ERR_OK;
}

static enum err check_lora(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    if (r->adapter != RECIPE_ADAPTER_LORA)
        return ERR_OK;
    if (!given(r, RECIPE_KEY_lora_r))
        return recipe_check_fail(load, RECIPE_KEY_lora_r,
                                 "is required with adapter: lora (8 and 16 are usual)");
    if (!given(r, RECIPE_KEY_lora_alpha))
        return recipe_check_fail(load, RECIPE_KEY_lora_alpha,
                                 "is required with adapter: lora (lora_r or twice that is usual)");
    return ERR_OK;
}

/* A name stands in tables, in messages and on command lines. */
static enum err check_name(struct recipe_load *load)
{
    const char *name = load->recipe->name;
    if (name == NULL)
        return ERR_OK;
    if (name[0] == '\0' || strlen(name) > LIMIT_NAME_BYTES)
        return recipe_check_fail(load, RECIPE_KEY_name, "expected 1 to 256 bytes");
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return recipe_check_fail(load, RECIPE_KEY_name,
                                     "expected one line without control characters");
    }
    return ERR_OK;
}

/* Methods that measure what goes through the model. */
static bool measures(const struct recipe_quantize *q)
{
    return q->method == RECIPE_QUANTIZE_METHOD_GPTQ || q->method == RECIPE_QUANTIZE_METHOD_AWQ ||
           q->method == RECIPE_QUANTIZE_METHOD_SMOOTHQUANT || q->target_bpw > 0 ||
           q->target_kl > 0 || q->activations == RECIPE_QUANTIZE_ACTIVATIONS_STATIC;
}

static enum err check_quantize(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    const struct recipe_quantize *q = &r->quantize;
    bool has_text = r->calibration_datasets_count > 0;
    int goals = (q->scheme != NULL) + (q->target_bpw > 0) + (q->target_kl > 0);
    if (!recipe_quantizes(r))
        return has_text ? recipe_check_fail(load, RECIPE_KEY_calibration_datasets,
                                            "needs quantize; add that or remove this")
                        : ERR_OK;
    if (goals == 0)
        return recipe_check_fail(
            load, RECIPE_KEY_quantize,
            "scheme is required (Q4_K_M, W4A16, W8A8, NF4, ...), or target_bpw");
    if (goals > 1)
        return recipe_check_fail(
            load, RECIPE_KEY_quantize,
            "scheme, target_bpw and target_kl exclude each other; give one of them");
    if (r->evaluate == RECIPE_EVALUATE_ONLY)
        return recipe_check_fail(load, RECIPE_KEY_quantize, "excludes evaluate: only; remove one");
    if (r->random_init && !recipe_trains(r))
        return recipe_check_fail(
            load, RECIPE_KEY_random_init,
            "needs datasets; a random model is trained before it is quantized");
    if (measures(q) && !has_text)
        return recipe_check_fail(
            load, RECIPE_KEY_quantize,
            "this method needs calibration_datasets: text to measure activations on");
    if (q->method == RECIPE_QUANTIZE_METHOD_IMPORTANCE && !has_text && q->imatrix == NULL)
        return recipe_check_fail(
            load, RECIPE_KEY_quantize,
            "method: importance needs calibration_datasets, or imatrix with a file");
    if (q->imatrix != NULL && has_text)
        return recipe_check_fail(load, RECIPE_KEY_quantize,
                                 "imatrix excludes calibration_datasets; give one of them");
    if (q->method == RECIPE_QUANTIZE_METHOD_RTN && q->imatrix != NULL)
        return recipe_check_fail(load, RECIPE_KEY_quantize,
                                 "method: rtn makes no use of imatrix; method: importance does");
    const char *needs = NULL, *key = recipe_effect_missing(r, &needs);
    if (key != NULL) {
        char place[256];
        return error_set(load->et, ERR_RECIPE, "%s: %s goes with %s; change one of them",
                         place_of(load, RECIPE_KEY_quantize, place), key, needs);
    }
    return ERR_OK;
}

/* A list means several trainings, each with a result of its own. */
static enum err check_lists(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    uint32_t count = 1;
    for (size_t list = 0; list < RECIPE_LIST_COUNT; list++) {
        enum recipe_key key = recipe_schema_key((enum recipe_list)list);
        char place[256];
        if (r->lists[list].count == 0)
            continue;
        if (!recipe_trains(r))
            return recipe_check_fail(load, key,
                                     "a list trains once for each value, and this recipe does not "
                                     "train; give one value");
        if (recipe_quantizes(r))
            return recipe_check_fail(
                load, key, "a list excludes quantize; quantize the best result afterwards");
        if (r->merge != RECIPE_MERGE_NONE)
            return recipe_check_fail(load, key,
                                     "a list excludes merge; merge the best adapter afterwards");
        if (key == RECIPE_KEY_lora_r && r->lora_model_dir != NULL)
            return recipe_check_fail(load, key,
                                     "a list excludes lora_model_dir, whose adapter has one rank");
        count *= r->lists[list].count;
        if (count > LIMIT_VARIANTS)
            return error_set(load->et, ERR_RECIPE,
                             "%s: expected lists with at most %d combinations, found %u",
                             place_of(load, key, place), LIMIT_VARIANTS, count);
    }
    return count == 1
               ? ERR_OK
               : recipe_load_notice(load, "trains %u times: all combinations of the lists", count);
}

static enum err check_perplexity(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    enum recipe_perplexity protocol = r->perplexity;
    if (protocol == RECIPE_PERPLEXITY_AUTO || protocol == RECIPE_PERPLEXITY_ROWS)
        return ERR_OK;
    if (r->test_datasets_count == 0)
        return recipe_check_fail(
            load, RECIPE_KEY_perplexity,
            "needs test_datasets; what is held out of training data are samples");
    if (protocol == RECIPE_PERPLEXITY_LLAMA_CPP && r->sequence_len < 3)
        return recipe_check_fail(
            load, RECIPE_KEY_sequence_len,
            "expected at least 3: perplexity: llama.cpp scores the second half of a window");
    return ERR_OK;
}

enum err recipe_check_settled(struct recipe_load *load)
{
    const struct recipe *r = load->recipe;
    TRY(check_company(load));
    TRY(check_name(load));
    if (r->output_dir != NULL && r->output_dir[0] == '\0')
        return recipe_check_fail(load, RECIPE_KEY_output_dir,
                                 "expected a folder, found an empty text");
    if (r->base_model == NULL || r->base_model[0] == '\0')
        return recipe_check_fail(load, RECIPE_KEY_base_model,
                                 "is required: the folder of the model");
    if (r->base_model_name != NULL && strchr("/.~", r->base_model_name[0]) != NULL)
        return recipe_check_fail(
            load, RECIPE_KEY_base_model_name,
            "is a name that means the same elsewhere (owner/name of a hub), not a path");
    TRY(check_datasets(load, RECIPE_KEY_datasets, r->datasets, r->datasets_count));
    TRY(check_datasets(load, RECIPE_KEY_test_datasets, r->test_datasets, r->test_datasets_count));
    TRY(check_datasets(load, RECIPE_KEY_calibration_datasets, r->calibration_datasets,
                       r->calibration_datasets_count));
    TRY(recipe_adapt_check(load));
    TRY(check_quantize(load));
    TRY(check_perplexity(load));
    TRY(check_lists(load));
    if (!recipe_trains(r) && recipe_merges(r))
        TRY(check_lora(load));
    if (!recipe_trains(r) && recipe_quantizes(r))
        return r->val_set_size > 0
                   ? recipe_check_fail(load, RECIPE_KEY_val_set_size,
                                       "needs datasets; give test_datasets to measure on")
                   : ERR_OK;
    if (!recipe_trains(r) && recipe_merges(r))
        return ERR_OK;
    if (!recipe_trains(r)) {
        bool held_out =
            r->test_datasets_count > 0 || (r->datasets_count > 0 && r->val_set_size > 0);
        return held_out ? ERR_OK
                        : recipe_check_fail(
                              load, RECIPE_KEY_evaluate,
                              "only evaluates, but there is no held-out data; give test_datasets");
    }
    if (r->datasets_count == 0)
        return recipe_check_fail(load, RECIPE_KEY_datasets, "is required: the files to train on");
    if (!given(r, RECIPE_KEY_learning_rate))
        return recipe_check_fail(
            load, RECIPE_KEY_learning_rate,
            "is required for training (1e-4 to 3e-4 is usual for LoRA); there is no default");
    if (!given(r, RECIPE_KEY_max_steps) && r->num_epochs <= 0)
        return recipe_check_fail(load, RECIPE_KEY_num_epochs, "expected more than 0");
    TRY(check_lora(load));
    if (r->origins[RECIPE_KEY_sequence_len].source == RECIPE_DEFAULT)
        TRY(recipe_load_notice(load, "sequence_len is %" PRIu64 " by default; give it to be sure",
                               r->sequence_len));
    return ERR_OK;
}
