/* test_store_crash.c - a writer is killed at random moments: what it was told is durable must be
 * there, whole batches only, in a chain that verifies. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/store/store_lmdb.h"

enum { ROUNDS = 25, BATCH = 3 };

/* Appends batches of BATCH records and tells the number of the newest after each. */
static void write_for_ever(const char *folder, int told)
{
    struct store *store = NULL;
    struct store_lmdb_options options = {folder, 256 << 20};
    if (store_lmdb_open(&options, &store, NULL) != ERR_OK)
        _exit(3);
    for (;;) {
        char texts[BATCH][32];
        struct store_record batch[BATCH];
        for (size_t i = 0; i < BATCH; i++) {
            (void)snprintf(texts[i], sizeof texts[i], "%llu",
                           (unsigned long long)(store_last(store) + i + 1));
            batch[i] = (struct store_record){1, 0, span_of_text(text_of(texts[i]))};
        }
        if (store_append(store, batch, BATCH, NULL) != ERR_OK)
            _exit(4);
        uint64_t last = store_last(store);
        if (write(told, &last, sizeof last) != (ssize_t)sizeof last)
            _exit(5);
    }
}

static enum err check_text(void *context, uint64_t seq, const struct store_record *record)
{
    char text[32];
    (void)context;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)seq);
    return span_equal(record->payload, span_of_text(text_of(text))) ? ERR_OK : ERR_FORMAT;
}

/* Kills the writer after about `wait_us`; returns what it was last told. */
static uint64_t run_and_kill(const char *folder, long wait_us)
{
    int pipe_fds[2];
    uint64_t told = 0;
    uint64_t last = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(pipe_fds[0]);
        write_for_ever(folder, pipe_fds[1]);
    }
    (void)close(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &last, sizeof last), sizeof last);
    (void)nanosleep(&(struct timespec){0, wait_us * 1000}, NULL);
    assert_int_equal(kill(pid, SIGKILL), 0);
    do
        told = last;
    while (read(pipe_fds[0], &last, sizeof last) == (ssize_t)sizeof last);
    (void)close(pipe_fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    return told;
}

static void test_store_lmdb__acknowledged_batches_survive_kill(void **state)
{
    (void)state;
    char folder[] = "/tmp/qfleet-crash-XXXXXX";
    char command[128];
    assert_non_null(mkdtemp(folder));
    for (long i = 0; i < ROUNDS; i++) {
        struct store *store = NULL;
        struct err_text et = {""};
        struct store_lmdb_options options = {folder, 256 << 20};
        uint64_t told = run_and_kill(folder, 100 + i * 731 % 9000);
        if (store_lmdb_open(&options, &store, &et) != ERR_OK)
            fail_msg("round %ld: %s", i, et.text);
        assert_true(store_last(store) >= told);
        assert_int_equal(store_last(store) % BATCH, 0);
        assert_int_equal(store_read(store, 0, check_text, NULL, &et), ERR_OK);
        store_destroy(&store);
    }
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_lmdb__acknowledged_batches_survive_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
