/* held_out.c - the recipe has the protocol, the facts of the pack stage the rest. */
#include "cli/command/held_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/formats/dataset/perplexity.h"
#include "common/recipe/recipe.h"
#include "worker/task/task_settings.h"

static uint64_t fact_of(const struct msg_job *job, const char *name)
{
    for (uint32_t i = 0; i < job->facts_count; i++)
        if (text_is(job->facts[i].name, name))
            return job->facts[i].value;
    return 0;
}

static void print_line(const struct msg_job *job, const struct recipe *recipe, struct bytes *out)
{
    double scored = (double)fact_of(job, "test_scored");
    uint64_t tokenizer = fact_of(job, "test_tokenizer");
    struct perplexity rules = {
        .protocol = task_settings_protocol(recipe, "test/"),
        .length = (uint32_t)recipe->sequence_len,
        .has_bos = fact_of(job, "test_bos") != 0,
        .words = fact_of(job, "test_words"),
    };
    if (tokenizer != 0)
        (void)snprintf(rules.tokenizer, sizeof rules.tokenizer, "%016" PRIx64, tokenizer);
    if (recipe->test_datasets_count == 0) /* held out of the training data */
        rules.protocol = PERPLEXITY_ROWS;
    perplexity_print(&rules, job->row.eval_loss * scored, scored, out);
}

enum err held_out_print(const struct msg_job *job, struct bytes *out)
{
    struct recipe recipe;
    if (!isfinite(job->row.eval_loss) || fact_of(job, "test_scored") == 0)
        return ERR_OK;
    TRY(recipe_parse(job->recipe, &recipe, NULL));
    if (recipe_is_set(&recipe, RECIPE_KEY_perplexity) || recipe_streams(&recipe))
        print_line(job, &recipe, out);
    recipe_fini(&recipe);
    return bytes_status(out);
}
