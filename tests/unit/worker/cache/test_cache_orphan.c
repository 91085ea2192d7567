/* test_cache_orphan.c - what a killed worker left goes, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/cache/cache_orphan.h"
#include "worker/cache/cache_tree.h"

static const char *at(const char *folder, const char *name)
{
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void make_folder(const char *folder, const char *name)
{
    assert_int_equal(mkdir(at(folder, name), 0700), 0);
}

static int make_file(const char *folder, const char *name)
{
    int fd = open(at(folder, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static void test_cache_orphan__only_unlocked_caches_of_the_name_go(void **state)
{
    (void)state;
    char folder[] = "/tmp/qfleet-orphan-XXXXXX";
    assert_non_null(mkdtemp(folder));
    make_folder(folder, "w-dead");
    make_folder(folder, "w-dead/files");
    close(make_file(folder, "w-dead/lock"));
    close(make_file(folder, "w-dead/files/a"));
    make_folder(folder, "w-alive");
    make_folder(folder, "w-alive/files");
    int alive = make_file(folder, "w-alive/lock");
    assert_int_equal(flock(alive, LOCK_EX | LOCK_NB), 0);
    make_folder(folder, "w-new");     /* no lock yet */
    make_folder(folder, "w-locking"); /* about to be locked */
    close(make_file(folder, "w-locking/lock"));
    make_folder(folder, "other");
    make_folder(folder, "other/files");
    close(make_file(folder, "other/lock"));
    close(make_file(folder, "w-file"));
    assert_int_equal(symlink("other", at(folder, "w-link")), 0);
    assert_int_equal(cache_orphan_sweep(folder, "w-"), 1);
    assert_int_not_equal(access(at(folder, "w-dead"), F_OK), 0);
    static const char *const stay[] = {"w-alive/lock", "w-new",  "w-locking",
                                       "other/lock",   "w-file", "w-link"};
    for (size_t i = 0; i < sizeof stay / sizeof stay[0]; i++)
        assert_int_equal(access(at(folder, stay[i]), F_OK), 0);
    close(alive);
    assert_int_equal(cache_orphan_sweep(folder, "w-"), 1);
    assert_int_equal(cache_orphan_sweep("/nonexistent", "w-"), 0);
    cache_tree_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_orphan__only_unlocked_caches_of_the_name_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
