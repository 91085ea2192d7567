/* test_control_group.c - limits and counts of both versions, as containers and units have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/control_group/control_group.h"

#define MIB UINT64_C(1048576)

enum { PATH_BYTES = 256, FILES_MAX = 16 };

/* A tree of files below a folder of its own. */
struct tree {
    char root[PATH_BYTES], list[PATH_BYTES];
    struct control_group_files files;
};

static int setup(void **state)
{
    static struct tree tree;
    (void)snprintf(tree.root, sizeof tree.root, "/tmp/qfleet-group-XXXXXX");
    if (mkdtemp(tree.root) == NULL)
        return 1;
    (void)snprintf(tree.list, sizeof tree.list, "%.200s/list", tree.root);
    tree.files = (struct control_group_files){tree.list, tree.root};
    *state = &tree;
    return 0;
}

static int teardown(void **state)
{
    char command[PATH_BYTES + 16];
    const struct tree *tree = *state;
    (void)snprintf(command, sizeof command, "rm -r %s", tree->root);
    return system(command);
}

/* Writes root/name with the folders on its way. */
static void put(const struct tree *tree, const char *name, const char *text)
{
    char path[2 * PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", tree->root, name);
    for (char *c = path + strlen(tree->root) + 1; (c = strchr(c, '/')) != NULL; c++) {
        *c = '\0';
        (void)mkdir(path, 0700);
        *c = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void test_control_group__without_one_there_is_no_limit(void **state)
{
    const struct tree *tree = *state;
    assert_true(control_group_memory_max(&tree->files) == UINT64_MAX);
    assert_int_equal(control_group_oom_kills(&tree->files), 0);
    put(tree, "list", "0::/\n");
    assert_true(control_group_memory_max(&tree->files) == UINT64_MAX);
}

/* A unit of systemd with MemoryMax, in a slice that has less. */
static void test_control_group__the_least_limit_on_the_way_up_counts(void **state)
{
    const struct tree *tree = *state;
    put(tree, "list", "0::/system.slice/worker.service\n");
    put(tree, "system.slice/worker.service/memory.max", "max\n");
    assert_true(control_group_memory_max(&tree->files) == UINT64_MAX);
    put(tree, "system.slice/worker.service/memory.max", "4294967296\n");
    assert_int_equal(control_group_memory_max(&tree->files), 4096 * MIB);
    put(tree, "system.slice/memory.max", "1073741824\n");
    assert_int_equal(control_group_memory_max(&tree->files), 1024 * MIB);
}

/* A container: the list names a path that its own view of the groups does not have. */
static void test_control_group__a_path_from_outside_ends_at_the_root(void **state)
{
    const struct tree *tree = *state;
    put(tree, "list", "12:pids:/docker/ab\n11:memory:/docker/ab\n0::/docker/ab\n");
    put(tree, "memory/memory.limit_in_bytes", "268435456\n");
    put(tree, "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_int_equal(control_group_memory_max(&tree->files), 256 * MIB);
    assert_int_equal(control_group_oom_kills(&tree->files), 2);
}

static void test_control_group__the_first_version_has_a_number_for_none(void **state)
{
    const struct tree *tree = *state;
    put(tree, "list", "4:memory:/a\n");
    put(tree, "memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(control_group_memory_max(&tree->files) == UINT64_MAX);
    put(tree, "memory/a/memory.limit_in_bytes", "99999999999999999999999999\n");
    assert_true(control_group_memory_max(&tree->files) == UINT64_MAX);
}

static void test_control_group__kills_are_those_of_the_own_group(void **state)
{
    const struct tree *tree = *state;
    put(tree, "list", "0::/a/b\n");
    put(tree, "a/memory.events", "oom 9\noom_kill 9\n");
    assert_int_equal(control_group_oom_kills(&tree->files), 9);
    put(tree, "a/b/memory.events", "low 0\noom 3\noom_kill 1\noom_group_kill 0\n");
    assert_int_equal(control_group_oom_kills(&tree->files), 1);
}

static void test_control_group__counts_are_read_from_lines(void **state)
{
    (void)state;
    assert_int_equal(control_group_count_of("oom 3\noom_kill 12\noom_group_kill 0\n", "oom_kill"),
                     12);
    assert_int_equal(control_group_count_of("oom_kill_disable 1\noom_kill 2", "oom_kill"), 2);
    assert_int_equal(control_group_count_of("", "oom_kill"), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_control_group__##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_one_there_is_no_limit),        TEST(the_least_limit_on_the_way_up_counts),
        TEST(a_path_from_outside_ends_at_the_root), TEST(the_first_version_has_a_number_for_none),
        TEST(kills_are_those_of_the_own_group),     TEST(counts_are_read_from_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
