/* test_provider.c - configurations to commands, output of engines to allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/mem/bytes.h"
#include "common/mem/mem.h"
#include "coordinator/provider/provider.h"

static const struct provider_site site = {.program = "/opt/qfleet/bin/qfleet-worker",
                                          .coordinator = "tcp://head:7070",
                                          .fleet = "a1b2c3d4"};

static struct arena made_arena(void)
{
    struct arena arena;
    arena_init(&arena, 8 << 20);
    return arena;
}

/* The commands as lines, for comparison as a whole. */
static void check_text(const struct provider_commands *commands, const char *expected)
{
    struct arena arena = made_arena();
    char text[8192] = "";
    size_t size = 0;
    for (size_t i = 0; i < commands->count; i++) {
        const char *line = provider_command_text(&commands->rows[i], &arena);
        assert_non_null(line);
        assert_null(commands->rows[i].argv[commands->rows[i].argc]);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s\n", line);
        assert_true(size < sizeof text);
    }
    assert_string_equal(text, expected);
    arena_fini(&arena);
}

static void check_start(const struct provider_config *config, const struct provider_start *start,
                        const char *expected)
{
    struct arena arena = made_arena();
    struct provider_commands commands;
    struct err_text et = {""};
    assert_int_equal(provider_check(config, &site, &et), ERR_OK);
    assert_int_equal(provider_start(config, &site, start, &arena, &commands), ERR_OK);
    check_text(&commands, expected);
    arena_fini(&arena);
}

static void test_local__worker_is_the_process_and_the_neighbour_program(void **state)
{
    (void)state;
    struct provider_config config = {.name = "here",
                                     .kind = PROVIDER_LOCAL,
                                     .program = "qfleet-worker",
                                     .threads = 2,
                                     .memory = 1ull << 30};
    check_start(&config, &(struct provider_start){.count = 1, .serial = "3.17", .slot = 4},
                "/opt/qfleet/bin/qfleet-worker --coordinator tcp://head:7070 --provider here "
                "--threads 2 --memory 1073741824 --allocation 3.17 --name here-4\n");
    config.program = "/usr/bin/qfleet-worker";
    config.cache = "/var/cache/a b";
    config.time_limit = 90000;
    check_start(&config, &(struct provider_start){.count = 1, .serial = "3.18", .slot = 1},
                "/usr/bin/qfleet-worker --coordinator tcp://head:7070 --provider here "
                "--threads 2 --memory 1073741824 --allocation 3.18 --name here-1 "
                "--time-limit 90 --cache '/var/cache/a b/here-1'\n");
}

static void test_ssh__far_shell_gets_one_quoted_line(void **state)
{
    (void)state;
    const char *hosts[] = {"a.example", "me@b"};
    const char *arguments[] = {"-p", "2222"};
    struct provider_config config = {.name = "desk",
                                     .kind = PROVIDER_SSH,
                                     .program = "/home/o'neil/bin/qfleet-worker",
                                     .hosts = hosts,
                                     .hosts_count = 2,
                                     .arguments = arguments,
                                     .arguments_count = 2};
    struct arena arena = made_arena();
    struct provider_commands commands;
    const struct provider_start start = {.count = 1, .serial = "1.2", .slot = 7, .host = 3};
    assert_int_equal(provider_start(&config, &site, &start, &arena, &commands), ERR_OK);
    assert_int_equal(commands.count, 1);
    const struct provider_command *ssh = &commands.rows[0];
    assert_true(ssh->is_worker);
    assert_string_equal(ssh->worker, "desk-7");
    assert_string_equal(ssh->allocation, "1.2");
    assert_string_equal(ssh->argv[ssh->argc - 3], "--");
    assert_string_equal(ssh->argv[ssh->argc - 2], "me@b");
    assert_string_equal(ssh->argv[ssh->argc - 1],
                        "exec '/home/o'\\''neil/bin/qfleet-worker' --coordinator tcp://head:7070 "
                        "--provider desk --allocation 1.2 --name desk-7");
    arena_fini(&arena);
}

static void test_slurm__one_sbatch_a_job_with_the_script_on_its_input(void **state)
{
    (void)state;
    const char *arguments[] = {"--account=lab"};
    struct provider_config config = {.name = "cluster",
                                     .kind = PROVIDER_SLURM,
                                     .program = "qfleet-worker",
                                     .partition = "short",
                                     .prologue = "module load blas",
                                     .threads = 4,
                                     .memory = 3ull << 30,
                                     .time_limit = 3600000,
                                     .arguments = arguments,
                                     .arguments_count = 1};
    check_start(&config, &(struct provider_start){.count = 2, .total = 5, .serial = "1.1"},
                "sbatch --ntasks=1 --cpus-per-task=4 --mem=3072M --time=60:00 --partition=short "
                "--output=/dev/null --account=lab --parsable --job-name=qfleet-cluster-a1b2c3d4 "
                "<<'END'\n"
                "#!/bin/sh\nbegun=$(date +%s)\nmodule load blas\n"
                "exec qfleet-worker --coordinator tcp://head:7070 --provider cluster --threads 4 "
                "--memory 3221225472 --time-limit $((3600 - $(date +%s) + begun))\nEND\n\n"
                "sbatch --ntasks=1 --cpus-per-task=4 --mem=3072M --time=60:00 --partition=short "
                "--output=/dev/null --account=lab --parsable --job-name=qfleet-cluster-a1b2c3d4 "
                "<<'END'\n"
                "#!/bin/sh\nbegun=$(date +%s)\nmodule load blas\n"
                "exec qfleet-worker --coordinator tcp://head:7070 --provider cluster --threads 4 "
                "--memory 3221225472 --time-limit $((3600 - $(date +%s) + begun))\nEND\n\n");
}

static void test_slurm__several_workers_of_a_job_are_tasks_of_srun(void **state)
{
    (void)state;
    struct arena arena = made_arena();
    struct provider_commands commands;
    struct provider_config config = {.name = "cluster",
                                     .kind = PROVIDER_SLURM,
                                     .program = "qfleet-worker",
                                     .workers_per_allocation = 3,
                                     .memory = 1ull << 30,
                                     .time_limit = 60000};
    const struct provider_start start = {.count = 1};
    assert_int_equal(provider_start(&config, &site, &start, &arena, &commands), ERR_OK);
    assert_string_equal(commands.rows[0].argv[1], "--ntasks=3");
    assert_string_equal(commands.rows[0].argv[2], "--mem=3072M");
    assert_non_null(strstr(commands.rows[0].input.data, "exec srun qfleet-worker "));
    arena_fini(&arena);
}

static void test_slurm__cancel_spares_jobs_that_began_meanwhile(void **state)
{
    (void)state;
    struct arena arena = made_arena();
    struct provider_commands commands;
    struct provider_config config = {
        .name = "c", .kind = PROVIDER_SLURM, .program = "w", .time_limit = 60000};
    const char *ids[] = {"12", "14"};
    assert_int_equal(provider_cancel(&config, &site, ids, 2, 0, &arena, &commands), ERR_OK);
    check_text(&commands, "scancel --state=PENDING 12 14\n");
    const char *many[PROVIDER_ARGUMENTS_MAX];
    for (size_t i = 0; i < COUNT_OF(many); i++)
        many[i] = "7";
    assert_int_equal(provider_cancel(&config, &site, many, COUNT_OF(many), 0, &arena, &commands),
                     ERR_OK);
    assert_int_equal(commands.count, 2);
    assert_int_equal(provider_cancel(&config, &site, many, 0, 0, &arena, &commands), ERR_OK);
    assert_int_equal(commands.count, 0);
    assert_int_equal(provider_status(&config, &site, &arena, &commands), ERR_OK);
    check_text(&commands, "squeue --noheader --array --states=all --name=qfleet-c-a1b2c3d4 "
                          "'--format=%i|%T|%r'\n");
    arena_fini(&arena);
}

static void test_kubernetes__the_pod_that_drains_is_the_cheapest_to_delete(void **state)
{
    (void)state;
    struct arena arena = made_arena();
    struct provider_commands commands;
    struct provider_config config = {.name = "k8s",
                                     .kind = PROVIDER_KUBERNETES,
                                     .program = "qfleet-worker",
                                     .deployment = "qfleet-worker",
                                     .namespace = "ml"};
    const char *ids[] = {"qfleet-worker-x1", "qfleet-worker-x2"};
    check_start(&config, &(struct provider_start){.count = 2, .total = 6},
                "kubectl --namespace ml scale deployment/qfleet-worker --replicas=6\n"
                "kubectl --namespace ml get pods --selector=qfleet/provider=k8s "
                "'--output=jsonpath={range .items[*]}{.metadata.name}|{.status.phase}|"
                "{.metadata.deletionTimestamp}|"
                "{.status.containerStatuses[0].state.waiting.reason}{\"\\n\"}{end}'\n");
    assert_int_equal(provider_cancel(&config, &site, ids, 2, 4, &arena, &commands), ERR_OK);
    check_text(&commands, "kubectl --namespace ml annotate pod qfleet-worker-x1 qfleet-worker-x2 "
                          "controller.kubernetes.io/pod-deletion-cost=-1000 --overwrite\n"
                          "kubectl --namespace ml scale deployment/qfleet-worker --replicas=4\n");
    arena_fini(&arena);
}

struct report {
    char text[2048];
    size_t size;
};

static void note(void *context, const struct provider_allocation *allocation)
{
    static const char letters[] = "WRLEF";
    struct report *report = context;
    report->size += (size_t)snprintf(
        report->text + report->size, sizeof report->text - report->size, "%s %c %s; ",
        allocation->id, letters[allocation->state], allocation->detail);
    assert_true(report->size < sizeof report->text);
}

static void check_status(enum provider_kind kind, const char *output, size_t strange,
                         const char *expected)
{
    struct report report = {.size = 0};
    assert_int_equal(provider_parse_status(kind, text_of(output), note, &report), strange);
    assert_string_equal(report.text, expected);
}

static void test_slurm__squeue_is_read_line_by_line(void **state)
{
    (void)state;
    check_status(PROVIDER_SLURM,
                 "7|PENDING|Resources\n8|RUNNING|None\n\n9_1|TIMEOUT|TimeLimit  \r\n"
                 "10|FAILED|NonZeroExitCode\n11|COMPLETING|None\nslurm_load_jobs error\n"
                 "-x|RUNNING|None\n12|PENDING|None\n13|NEW_WORD|None\n14|a word|None",
                 3,
                 "7 W Resources; 8 R RUNNING; 9_1 E TIMEOUT; 10 F FAILED; 11 L COMPLETING; "
                 "12 W PENDING; 13 W NEW_WORD; "); /* of a newer Slurm: it is there */
    check_status(PROVIDER_SLURM, "", 0, "");
}

static void test_slurm__sbatch_names_the_job_with_or_without_a_cluster(void **state)
{
    (void)state;
    struct report report = {.size = 0};
    const char *output = "sbatch: lua: hello\n4711\n4712;east\n; \n";
    assert_int_equal(provider_parse_start(PROVIDER_SLURM, text_of(output), note, &report), 2);
    assert_string_equal(report.text, "4711 W ; 4712 W ; ");
}

static void test_kubernetes__pods_wait_run_leave_or_failed(void **state)
{
    (void)state;
    check_status(PROVIDER_KUBERNETES,
                 "deployment.apps/qfleet-worker scaled\nw-a|Running||\n"
                 "w-b|Pending||ImagePullBackOff\nw-c|Running|2026-01-01T00:00:00Z|\n"
                 "w-d|Failed||\nw-e|Running||CrashLoopBackOff\nw-f|Odd||\n",
                 2,
                 "w-a R Running; w-b W ImagePullBackOff; w-c L Running; w-d F Failed; "
                 "w-e W CrashLoopBackOff; ");
}

static void test_kubernetes__what_scale_says_is_for_people(void **state)
{
    (void)state;
    struct report report = {.size = 0};
    const char *output = "deployment.apps/w scaled\nw-a|Pending||\n";
    assert_int_equal(provider_parse_start(PROVIDER_KUBERNETES, text_of(output), note, &report), 0);
    assert_string_equal(report.text, "w-a W Pending; ");
}

static void test_cancel__an_id_that_could_be_an_option_makes_no_command(void **state)
{
    (void)state;
    const struct provider_config config = {
        .name = "a", .kind = PROVIDER_KUBERNETES, .program = "w", .deployment = "d"};
    const char *ids[] = {"w-a", "--kubeconfig=/tmp/mine"};
    struct provider_commands commands;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    assert_int_equal(provider_cancel(&config, &site, ids, 2, 0, &arena, &commands), ERR_INTERNAL);
    assert_int_equal(commands.count, 0);
    assert_int_equal(provider_cancel(&config, &site, ids, 1, 0, &arena, &commands), ERR_OK);
    assert_int_equal(commands.count, 2);
    arena_fini(&arena);
}

static void test_ssh__a_host_that_failed_rests_and_workers_spread(void **state)
{
    (void)state;
    struct provider_host hosts[3] = {{2, 0}, {1, 0}, {1, 0}};
    assert_int_equal(provider_pick_host(hosts, 3, 100), 1);
    hosts[1].failed_ns = 150;
    assert_int_equal(provider_pick_host(hosts, 3, 100), 2);
    hosts[2].failed_ns = 140;
    hosts[0].failed_ns = 160;
    assert_int_equal(provider_pick_host(hosts, 3, 100), 2);
    assert_int_equal(provider_pick_host(hosts, 3, 150), 1);
}

static void test_output__control_characters_do_not_reach_a_terminal(void **state)
{
    (void)state;
    check_status(PROVIDER_SLURM, "7|PENDING|a\x1b[2Jb\xc3\n", 0, "7 W a?[2Jb?; ");
}

static void test_check__what_could_be_an_option_or_two_words_is_refused(void **state)
{
    (void)state;
    const char *hosts[] = {"good", "-oProxyCommand=evil"}, *lines[] = {"a\nb"};
    const struct {
        struct provider_config config;
        const char *expected;
    } rows[] = {
        {{.name = "a b", .program = "w"}, "name: "},
        {{.name = "-a", .program = "w"}, "name: "},
        {{.name = "a", .program = "-w"}, "program"},
        {{.name = "a", .program = "w", .coordinator = "x\n"}, "coordinator"},
        {{.name = "a", .kind = PROVIDER_SSH, .program = "w"}, "hosts"},
        {{.name = "a", .kind = PROVIDER_SSH, .program = "w", .hosts = hosts, .hosts_count = 2},
         "-oProxyCommand"},
        {{.name = "a", .kind = PROVIDER_SLURM, .program = "w"}, "time_limit"},
        {{.name = "a",
          .kind = PROVIDER_SLURM,
          .program = "w",
          .time_limit = 60000,
          .partition = "a b"},
         "partition"},
        {{.name = "a", .kind = PROVIDER_KUBERNETES, .program = "w"}, "deployment"},
        {{.name = "a", .program = "w", .arguments = lines, .arguments_count = 1}, "arguments"},
        {{.name = "a", .program = "w", .workers_per_allocation = 2}, "workers_per_allocation"},
        {{.name = "a",
          .kind = PROVIDER_SSH,
          .program = "w",
          .hosts = hosts,
          .hosts_count = 1,
          .coordinator = "ipc:///tmp/x"},
         "ipc:///tmp/x"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err_text et = {""};
        assert_int_equal(provider_check(&rows[i].config, &site, &et), ERR_RECIPE);
        if (strstr(et.text, rows[i].expected) == NULL)
            fail_msg("row %zu: \"%s\" lacks \"%s\"", i, et.text, rows[i].expected);
    }
}

static void test_check__only_kinds_that_tell_the_endpoint_need_one_that_is_reached(void **state)
{
    (void)state;
    const struct provider_site anywhere = {.program = "w", .coordinator = "tcp://0.0.0.0:7070"};
    struct provider_config config = {.name = "a", .program = "w", .deployment = "d"};
    struct err_text et = {""};
    config.kind = PROVIDER_KUBERNETES;
    assert_int_equal(provider_check(&config, &anywhere, &et), ERR_OK);
    config.kind = PROVIDER_LOCAL;
    assert_int_equal(provider_check(&config, &anywhere, &et), ERR_OK);
    config.kind = PROVIDER_SLURM;
    config.time_limit = 60000;
    assert_int_equal(provider_check(&config, &anywhere, &et), ERR_RECIPE);
    config.coordinator = "tcp://head:7070";
    assert_int_equal(provider_check(&config, &anywhere, &et), ERR_OK);
}

static void test_check__the_example_file_is_good(void **state)
{
    (void)state;
    struct bytes text;
    struct providers providers;
    struct err_text et = {""};
    bytes_init(&text, 1 << 20);
    assert_int_equal(file_read("ops/slurm/providers.yml", 1 << 20, &text, &et), ERR_OK);
    if (providers_read(bytes_span(&text), "providers.yml", 4, &providers, &et) != ERR_OK)
        fail_msg("%s", et.text);
    for (size_t i = 0; i < providers.count; i++)
        if (provider_check(&providers.rows[i], &site, &et) != ERR_OK)
            fail_msg("%s", et.text);
    assert_int_equal(providers.count, 1);
    providers_fini(&providers);
    bytes_fini(&text);
}

static void test_start__too_many_arguments_are_an_error(void **state)
{
    (void)state;
    struct arena arena = made_arena();
    struct provider_commands commands;
    const char *arguments[PROVIDER_ARGUMENTS_MAX];
    for (size_t i = 0; i < COUNT_OF(arguments); i++)
        arguments[i] = "-v";
    const struct provider_config config = {.name = "cluster",
                                           .kind = PROVIDER_SLURM,
                                           .program = "w",
                                           .time_limit = 60000,
                                           .arguments = arguments,
                                           .arguments_count = COUNT_OF(arguments)};
    const struct provider_start start = {.count = 1};
    assert_int_equal(provider_start(&config, &site, &start, &arena, &commands), ERR_LIMIT);
    assert_int_equal(commands.count, 0);
    arena_fini(&arena);
}

static void test_start__memory_may_run_out_anywhere(void **state)
{
    (void)state;
    const struct provider_config config = {.name = "c",
                                           .kind = PROVIDER_SLURM,
                                           .program = "qfleet-worker",
                                           .threads = 1,
                                           .time_limit = 60000};
    const struct provider_start start = {.count = 3, .serial = "1.1"};
    for (uint64_t n = 1;; n++) {
        struct arena arena = made_arena();
        struct provider_commands commands;
        (void)mem_fault_after(n);
        enum err err = provider_start(&config, &site, &start, &arena, &commands);
        (void)mem_fault_after(0);
        arena_fini(&arena);
        if (err == ERR_OK)
            break;
        assert_int_equal(err, ERR_OUT_OF_MEMORY);
        assert_int_equal(commands.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local__worker_is_the_process_and_the_neighbour_program),
        cmocka_unit_test(test_ssh__far_shell_gets_one_quoted_line),
        cmocka_unit_test(test_slurm__one_sbatch_a_job_with_the_script_on_its_input),
        cmocka_unit_test(test_slurm__several_workers_of_a_job_are_tasks_of_srun),
        cmocka_unit_test(test_slurm__cancel_spares_jobs_that_began_meanwhile),
        cmocka_unit_test(test_kubernetes__the_pod_that_drains_is_the_cheapest_to_delete),
        cmocka_unit_test(test_slurm__squeue_is_read_line_by_line),
        cmocka_unit_test(test_slurm__sbatch_names_the_job_with_or_without_a_cluster),
        cmocka_unit_test(test_kubernetes__pods_wait_run_leave_or_failed),
        cmocka_unit_test(test_kubernetes__what_scale_says_is_for_people),
        cmocka_unit_test(test_cancel__an_id_that_could_be_an_option_makes_no_command),
        cmocka_unit_test(test_ssh__a_host_that_failed_rests_and_workers_spread),
        cmocka_unit_test(test_output__control_characters_do_not_reach_a_terminal),
        cmocka_unit_test(test_check__what_could_be_an_option_or_two_words_is_refused),
        cmocka_unit_test(test_check__only_kinds_that_tell_the_endpoint_need_one_that_is_reached),
        cmocka_unit_test(test_check__the_example_file_is_good),
        cmocka_unit_test(test_start__too_many_arguments_are_an_error),
        cmocka_unit_test(test_start__memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
