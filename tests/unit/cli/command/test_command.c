/* test_command.c - from words to an invocation, and what help says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/command/command.h"
#include "cli/command/commands.h"
#include "common/base/check.h"

enum { WORDS_MAX = 12 };

static const struct environment environment = {.term = "dumb"};

/* Splits `line` at blanks and parses it as the command line of qctl. */
static enum err parse(const char *line, struct invocation *invocation, struct err_text *et)
{
    static char text[256];
    static char program[] = "qctl";
    char *words[WORDS_MAX + 1] = {program};
    int count = 1;
    (void)snprintf(text, sizeof text, "%s", line);
    for (char *at = text; *at != '\0' && count < WORDS_MAX;) {
        words[count++] = at;
        at += strcspn(at, " ");
        if (*at == ' ')
            *at++ = '\0';
    }
    return command_parse(count, words, &environment, invocation, et);
}

static void test_command__mistakes_are_named_with_the_nearest_word(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *message;
    } rows[] = {
        {"sumbit r.yml", "sumbit: unknown verb; did you mean qctl submit?"},
        {"data", "data: say which: check; see qctl help data"},
        {"data -o json", "data: say which: check; see qctl help data"},
        {"ckpt lgo", "ckpt lgo: unknown verb; did you mean qctl ckpt log?"},
        {"xyzzy", "xyzzy: unknown verb; see qctl help"},
        {"run r.yml --wokers 2", "--wokers: unknown option of run; did you mean --workers?"},
        {"run r.yml --zzzzzz", "--zzzzzz: unknown option; see qctl help run"},
        {"run r.yml -x", "-x: unknown option; options have long names"},
        {"run r.yml --workers", "--workers: expected N after it"},
        {"run r.yml --keep=yes", "--keep: expected no value"},
        {"run", "expected qctl run RECIPE [--workers N] [--threads N], found 0 arguments"},
        {"run a b", "expected qctl run RECIPE [--workers N] [--threads N], found 2 arguments"},
        {"jobs -o xml", "-o: expected table, json, jsonl or name, found \"xml\""},
        {"jobs --color sometimes", "--color: expected auto, always or never, found \"sometimes\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct invocation invocation;
        struct err_text et = {{0}};
        assert_int_equal(parse(rows[i].line, &invocation, &et), ERR_USAGE);
        assert_string_equal(et.text, rows[i].message);
    }
}

static void test_command__options_stand_anywhere_and_the_last_one_counts(void **state)
{
    (void)state;
    struct invocation invocation;
    struct err_text et = {{0}};
    uint64_t workers = 9;
    const char *sets[4];
    assert_int_equal(
        parse("run --set a=1 --workers=1 r.yml --workers 2 --set b=2 -o json", &invocation, &et),
        ERR_OK);
    assert_string_equal(invocation.command->name, "run");
    assert_int_equal(invocation.argument_count, 1);
    assert_string_equal(invocation.arguments[0], "r.yml");
    assert_int_equal(command_u64(&invocation, "workers", 1, 8, &workers, &et), ERR_OK);
    assert_int_equal(workers, 2);
    assert_int_equal(command_texts(&invocation, "set", sets, COUNT_OF(sets)), 2);
    assert_string_equal(sets[1], "b=2");
    assert_true(invocation.json);
    assert_false(command_flag(&invocation, "keep"));
}

static void test_command__words_after_two_dashes_are_arguments(void **state)
{
    (void)state;
    struct invocation invocation;
    struct err_text et = {{0}};
    assert_int_equal(parse("show -- --last", &invocation, &et), ERR_OK);
    assert_string_equal(invocation.arguments[0], "--last");
}

static void test_command__numbers_are_checked(void **state)
{
    (void)state;
    struct invocation invocation;
    struct err_text et = {{0}};
    uint64_t workers = 7;
    double temperature = 0;
    assert_int_equal(parse("run r.yml --workers many", &invocation, &et), ERR_OK);
    assert_int_equal(command_u64(&invocation, "workers", 1, 8, &workers, &et), ERR_USAGE);
    assert_string_equal(et.text, "--workers: expected a whole number from 1 to 8, found \"many\"");
    assert_int_equal(workers, 7);
    assert_int_equal(parse("generate m --temperature 1e-1", &invocation, &et), ERR_OK);
    assert_int_equal(command_f64(&invocation, "temperature", 0, 2, &temperature, &et), ERR_OK);
    assert_true(temperature == 0.1);
}

static void test_command__every_verb_is_found_and_has_an_example(void **state)
{
    (void)state;
    for (size_t i = 0; commands_at(i) != NULL; i++) {
        const struct command *command = commands_at(i);
        char first[64];
        int used = 0;
        (void)snprintf(first, sizeof first, "%s", command->name);
        char *space = strchr(first, ' ');
        if (space != NULL)
            *space = '\0';
        assert_ptr_equal(commands_find(first, space != NULL ? space + 1 : NULL, &used), command);
        assert_int_equal(used, space != NULL ? 2 : 1);
        char start[80];
        (void)snprintf(start, sizeof start, "  qctl %s", command->name);
        assert_memory_equal(command->examples, start, strlen(start));
        assert_true(command->examples[strlen(command->examples) - 1] == '\n');
    }
}

static void test_help__of_a_group_lists_its_verbs(void **state)
{
    (void)state;
    static const char *const lines[] = {"imatrix -h", "help imatrix"};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        struct invocation invocation;
        struct err_text et = {{0}};
        char *text = NULL;
        size_t size = 0;
        assert_int_equal(parse(lines[i], &invocation, &et), ERR_OK);
        invocation.out = open_memstream(&text, &size);
        assert_int_equal(invocation.command->run(&invocation, &et), ERR_OK);
        (void)fclose(invocation.out);
        assert_string_equal(text, "  imatrix merge      add importance matrices up\n");
        free(text);
    }
}

static void test_help__of_a_verb_leads_with_examples(void **state)
{
    (void)state;
    int used = 0;
    char text[1024] = {0};
    FILE *file = tmpfile();
    assert_non_null(file);
    commands_print_help(commands_find("jobs", NULL, &used), file);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    assert_true(size > 0);
    assert_string_equal(text, "  qctl jobs\n"
                              "  qctl jobs --active\n"
                              "  qctl jobs -o json\n"
                              "\n"
                              "qctl jobs [PREFIX]\n"
                              "\n"
                              "list jobs, newest first.\n"
                              "\n"
                              "options\n"
                              "  --active                   without those that are over\n"
                              "  --limit N                  newest rows\n"
                              "\n"
                              "qctl help lists the options of every verb.\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command__mistakes_are_named_with_the_nearest_word),
        cmocka_unit_test(test_command__options_stand_anywhere_and_the_last_one_counts),
        cmocka_unit_test(test_command__words_after_two_dashes_are_arguments),
        cmocka_unit_test(test_command__numbers_are_checked),
        cmocka_unit_test(test_command__every_verb_is_found_and_has_an_example),
        cmocka_unit_test(test_help__of_a_group_lists_its_verbs),
        cmocka_unit_test(test_help__of_a_verb_leads_with_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
