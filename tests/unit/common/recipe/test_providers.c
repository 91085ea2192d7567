/* test_providers.c - the file of providers: what it gives, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/recipe/providers.h"

enum { PROCESSORS = 12 };

static enum err read_text(const char *text, struct providers *out, struct err_text *et)
{
    return providers_read(span_of_text(text_of(text)), "p.yml", PROCESSORS, out, et);
}

static void test_providers__keys_are_typed_and_defaults_settled(void **state)
{
    (void)state;
    struct providers providers;
    struct err_text et = {""};
    enum err err = read_text("providers:\n"
                             "  - name: here\n"
                             "  - name: cluster\n"
                             "    kind: slurm\n"
                             "    max: 40\n"
                             "    target: 3\n"
                             "    time_limit: 1.5h\n"
                             "    idle_timeout: 90s\n"
                             "    memory: 8GiB\n"
                             "    arguments: [--qos=low, --account=x]\n"
                             "    prologue: |\n"
                             "      module load gcc\n"
                             "      ulimit -v unlimited\n"
                             "  - kind: ssh\n"
                             "    hosts: node1, node2\n",
                             &providers, &et);
    assert_string_equal(et.text, "");
    assert_int_equal(err, ERR_OK);
    assert_int_equal(providers.count, 3);
    const struct provider_config *here = &providers.rows[0];
    assert_int_equal(here->kind, PROVIDER_LOCAL);
    assert_int_equal(here->max, PROCESSORS);
    assert_int_equal(here->workers_per_allocation, 1);
    uint64_t target = 9;
    assert_false(providers_is_fixed(here, &target));
    const struct provider_config *cluster = providers_find(&providers, TEXT("cluster"));
    assert_ptr_equal(cluster, &providers.rows[1]);
    assert_int_equal(cluster->time_limit, 5400000);
    assert_int_equal(cluster->idle_timeout, 90000);
    assert_int_equal(cluster->memory, (uint64_t)8 << 30);
    assert_int_equal(cluster->arguments_count, 2);
    assert_string_equal(cluster->arguments[1], "--account=x");
    assert_string_equal(cluster->prologue, "module load gcc\nulimit -v unlimited\n");
    assert_true(providers_is_fixed(cluster, &target));
    assert_int_equal(target, 3);
    assert_string_equal(providers.rows[2].name, "ssh"); /* the kind's word */
    assert_int_equal(providers.rows[2].max, 2);         /* hosts */
    assert_null(providers_find(&providers, TEXT("none")));
    providers_fini(&providers);
}

static void test_providers__without_a_file_there_are_local_workers_and_none_is_started(void **state)
{
    (void)state;
    struct providers providers;
    uint64_t target = 9;
    assert_int_equal(providers_preset(PROCESSORS, &providers), ERR_OK);
    assert_int_equal(providers.count, 1);
    assert_string_equal(providers.rows[0].name, "local");
    assert_int_equal(providers.rows[0].max, PROCESSORS);
    assert_int_equal(providers.rows[0].threads, 1);
    assert_true(providers_is_fixed(&providers.rows[0], &target));
    assert_int_equal(target, 0);
    providers_fini(&providers);
}

static void test_providers__mistakes_are_named_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "p.yml:1: expected `providers:`"},
        {"workers: 3\n", "p.yml:1: expected `providers:`"},
        {"providers: 3\n", "expected `providers:`"},
        {"providers: []\nother: 1\n", "p.yml:2: other: unknown key"},
        {"providers:\n  - kind: slurn\n", "p.yml:2:11: kind: expected one of local, ssh, slurm, "
                                          "kubernetes, found \"slurn\"; did you mean slurm?"},
        {"providers:\n  - kind: slurm\n    time_limt: 3\n",
         "p.yml:3:5: time_limt: unknown key; did you mean time_limit?"},
        {"providers:\n  - kind: local\n    max: -1\n", "p.yml:3:10: max: expected a whole number"},
        {"providers:\n  - kind: local\n    max: 5000\n", "from 0 to 4096"},
        {"providers:\n  - kind: local\n    idle_timeout: soon\n", "expected a time such as 90s"},
        {"providers:\n  - {name: a}\n  - {name: a}\n", "p.yml:3: a: name: another provider"},
        {"providers:\n  - {name: a b}\n", "name: expected letters"},
        {"providers:\n  - {name: -a}\n", "name: expected letters"},
        {"providers:\n  - {kind: local, hosts: [a]}\n", "hosts: has no effect with kind local"},
        {"providers:\n  - {kind: ssh}\n", "hosts: expected a list of hosts, found none"},
        {"providers:\n  - {kind: ssh, hosts: [-oProxyCommand=x]}\n", "found an option"},
        {"providers:\n  - {kind: kubernetes, max: 2}\n", "deployment: expected the name"},
        {"providers:\n  - {kind: slurm}\n", "max: expected how many workers"},
        {"providers:\n  - {kind: slurm, max: 2, min: 3}\n", "min: expected at most max"},
        {"providers:\n  - {kind: slurm, max: 2, workers_per_allocation: 3}\n", "expected at most"},
        {"providers:\n  - {kind: slurm, max: 2, target: 3}\n", "target: expected at most max"},
        {"providers:\n  - {kind: local, target: some}\n", "target: expected auto or a number"},
        {"providers:\n  - {kind: local, program: \"a\\nb\"}\n", "program: expected one line"},
        {"providers:\n  - {kind: slurm, max: 1, arguments: [\"a\\tb\"]}\n", "arguments: expected"},
        {"providers:\n  - {kind: slurm, max: 1, partition: --x}\n", "found an option"},
        {"providers:\n  - local\n", "expected a mapping of keys"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct providers providers;
        struct err_text et = {""};
        assert_int_equal(read_text(rows[i].text, &providers, &et), ERR_RECIPE);
        if (strstr(et.text, rows[i].words) == NULL)
            fail_msg("%s\nsays: %s\nnot:  %s", rows[i].text, et.text, rows[i].words);
    }
}

static void test_providers__more_than_the_limit_are_refused(void **state)
{
    (void)state;
    char text[8192] = "providers:\n";
    size_t used = strlen(text);
    for (int i = 0; i <= LIMIT_PROVIDERS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "  - {name: p%d}\n", i);
    struct providers providers;
    struct err_text et = {""};
    assert_int_equal(read_text(text, &providers, &et), ERR_LIMIT);
}

static void test_providers__every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    enum err err = ERR_OUT_OF_MEMORY;
    for (size_t n = 1; err != ERR_OK; n++) {
        struct providers providers;
        struct err_text et = {""};
        (void)mem_fault_after(n);
        err = read_text("providers: [{kind: slurm, max: 3, arguments: [a, b]}]", &providers, &et);
        (void)mem_fault_after(0);
        assert_true(err == ERR_OK || err == ERR_OUT_OF_MEMORY);
        if (err == ERR_OK)
            providers_fini(&providers);
    }
}

static void test_providers__every_key_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    struct recipe_inner_key key, before = {.name = ""};
    size_t count = 0;
    for (; providers_key(count, &key); count++) {
        assert_true(strlen(key.help) > 10);
        assert_true(strcmp(before.name, key.name) < 0); /* sorted */
        before = key;
    }
    assert_true(count > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_providers__keys_are_typed_and_defaults_settled),
        cmocka_unit_test(
            test_providers__without_a_file_there_are_local_workers_and_none_is_started),
        cmocka_unit_test(test_providers__mistakes_are_named_with_their_line),
        cmocka_unit_test(test_providers__more_than_the_limit_are_refused),
        cmocka_unit_test(test_providers__every_failed_allocation_is_an_error_and_leaks_nothing),
        cmocka_unit_test(test_providers__every_key_has_a_name_and_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
