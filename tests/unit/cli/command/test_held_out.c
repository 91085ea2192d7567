/* test_held_out.c - a held-out loss is told with the rules under which it was taken, or not at all.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/held_out.h"
#include "common/base/check.h"
#include "common/recipe/recipe.h"

#define BASE "base_model: m\ntest_datasets: [{path: t.txt}]\nevaluate: only\nsequence_len: 256\n"

static struct fact facts[] = {
    {TEXT("test_rows"), 24},
    {TEXT("test_scored"), 1000},
    {TEXT("test_words"), 500},
    {TEXT("test_bos"), 1},
    {TEXT("test_tokenizer"), 0x00c0ffee12345678},
};

static void check_line(const char *yaml, double loss, uint32_t fact_count, const char *want)
{
    const struct recipe_options options = {.file_name = "r.yml"};
    struct recipe recipe;
    struct bytes canonical, line;
    struct err_text et = {""};
    bytes_init(&canonical, 1 << 16);
    bytes_init(&line, 1 << 16);
    if (recipe_read(span_of_text(text_of(yaml)), &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    recipe_write(&recipe, &canonical);
    const struct msg_job job = {.row = {.eval_loss = loss},
                                .recipe = bytes_span(&canonical),
                                .facts = facts,
                                .facts_count = fact_count};
    assert_int_equal(held_out_print(&job, &line), ERR_OK);
    bytes_append(&line, "", 1);
    assert_string_equal((const char *)line.data, want);
    recipe_fini(&recipe);
    bytes_fini(&canonical);
    bytes_fini(&line);
}

static void test_held_out__the_number_comes_with_its_rules(void **state)
{
    (void)state;
    check_line(BASE "perplexity: windows\n", 3, COUNT_OF(facts),
               "perplexity 20.0855 (windows of 256 tokens, BOS each, all scored, per token, "
               "tokenizer 00c0ffee12345678)");
    check_line(BASE "perplexity: words\n", 1.5, COUNT_OF(facts),
               "perplexity 20.0855 (words: documents apart, BOS first, windows of 256 tokens with "
               "context 1, all scored, per word, tokenizer 00c0ffee12345678)");
    check_line(BASE "perplexity: rows\n", 3, 2,
               "perplexity 20.0855 (rows as trained of up to 256 tokens, supervised tokens scored, "
               "per token)");
}

static void test_held_out__without_a_protocol_or_an_evaluation_nothing_is_said(void **state)
{
    (void)state;
    check_line(BASE, 3, COUNT_OF(facts), "");
    check_line(BASE "perplexity: windows\n", NAN, COUNT_OF(facts), "");
    check_line(BASE "perplexity: windows\n", 3, 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_out__the_number_comes_with_its_rules),
        cmocka_unit_test(test_held_out__without_a_protocol_or_an_evaluation_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
