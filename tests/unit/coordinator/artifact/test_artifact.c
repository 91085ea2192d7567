/* test_artifact.c - content under its hash: complete or absent, bounded, checked again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/formats/source/file.h"
#include "coordinator/artifact/artifact.h"

enum { BIG = DIGEST_CHUNK_BYTES + 1000, LARGE = 17 << 20, EPHEMERAL_MAX = 3 << 20 };

struct fixture {
    char folder[64];
    struct artifact_store *store;
    uint8_t *big; /* BIG bytes */
};

/* What happens once, in the next sync of a folder, before it fails or not. */
static struct {
    ino_t folder;
    void (*visit)(void *context);
    void *context;
    bool fails;
} folder_sync;

/* The library's: what this program links calls this one. */
int fsync(int fd)
{
    struct stat st;
    void (*visit)(void *context) = folder_sync.visit;
    if (visit == NULL || fstat(fd, &st) != 0 || st.st_ino != folder_sync.folder)
        return (int)syscall(SYS_fsync, fd);
    folder_sync.visit = NULL;
    visit(folder_sync.context);
    if (!folder_sync.fails)
        return (int)syscall(SYS_fsync, fd);
    errno = EIO;
    return -1;
}

static void open_store(struct fixture *f)
{
    struct err_text et = {""};
    struct artifact_options options = {f->folder, EPHEMERAL_MAX};
    if (artifact_store_open(&options, &f->store, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

static int set_up(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/qfleet-artifact-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    f->big = test_malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        f->big[i] = (uint8_t)(i * 7 + i / 255);
    open_store(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];
    artifact_store_close(&f->store);
    (void)snprintf(command, sizeof command, "rm -r %s", f->folder);
    int rc = system(command);
    test_free(f->big);
    test_free(f);
    return rc;
}

/* Durably, or as round traffic. */
static enum err store(struct fixture *f, struct span content, bool ephemeral, struct digest *d)
{
    struct bytes copy;
    if (!ephemeral)
        return artifact_store_bytes(f->store, content, d, NULL);
    bytes_init(&copy, SIZE_MAX);
    bytes_append(&copy, content.data, content.size);
    enum err err = artifact_keep_bytes(f->store, &copy, d, NULL);
    assert_int_equal(copy.size, err == ERR_OK ? 0 : content.size);
    bytes_fini(&copy);
    return err;
}

static struct digest store_big(struct fixture *f, bool ephemeral)
{
    struct digest d;
    assert_int_equal(store(f, (struct span){f->big, BIG}, ephemeral, &d), ERR_OK);
    return d;
}

static bool has(struct fixture *f, struct digest d)
{
    struct artifact a;
    if (artifact_acquire(f->store, d, &a, NULL) != ERR_OK)
        return false;
    bool is_same = a.bytes.size == BIG && memcmp(a.bytes.data, f->big, BIG) == 0;
    artifact_release(f->store, &a);
    return is_same;
}

static void test_artifact__durable_content_survives_a_reopen_with_its_leaves(void **state)
{
    struct fixture *f = *state;
    struct artifact a;
    struct span leaves;
    struct digest d = store_big(f, false);
    artifact_store_close(&f->store);
    open_store(f);
    assert_true(artifact_is_present(f->store, d, BIG, false));
    assert_false(artifact_is_present(f->store, d, BIG + 1, false));
    assert_true(has(f, d));
    assert_int_equal(artifact_acquire(f->store, d, &a, NULL), ERR_OK);
    assert_int_equal(artifact_leaves(f->store, &a, &leaves), ERR_OK);
    assert_int_equal(leaves.size, 2 * DIGEST_BYTES);
    assert_true(digest_equal(digest_root(BIG, leaves.data, 2), d));
    artifact_release(f->store, &a);
}

static void test_artifact__round_traffic_is_gone_after_a_reopen(void **state)
{
    struct fixture *f = *state;
    struct digest d = store_big(f, true);
    assert_true(has(f, d));
    artifact_store_close(&f->store);
    open_store(f);
    assert_false(has(f, d));
}

static void test_artifact__round_traffic_is_not_there_for_who_needs_it_to_last(void **state)
{
    struct fixture *f = *state;
    struct digest d = store_big(f, true);
    assert_true(artifact_is_present(f->store, d, BIG, true));
    assert_false(artifact_is_present(f->store, d, BIG, false));
    assert_true(digest_equal(store_big(f, false), d));
    assert_true(artifact_is_present(f->store, d, BIG, false));
}

static void test_artifact__empty_content_is_an_artifact(void **state)
{
    struct fixture *f = *state;
    struct digest d;
    struct artifact a;
    for (int ephemeral = 0; ephemeral < 2; ephemeral++) {
        assert_int_equal(store(f, (struct span){NULL, 0}, ephemeral, &d), ERR_OK);
        assert_int_equal(artifact_acquire(f->store, d, &a, NULL), ERR_OK);
        assert_int_equal(a.bytes.size, 0);
        artifact_release(f->store, &a);
    }
}

static void test_artifact__wrong_content_never_gets_the_name(void **state)
{
    struct fixture *f = *state;
    struct digest d = {{1, 2, 3}};
    for (int ephemeral = 0; ephemeral < 2; ephemeral++) {
        struct artifact_put *put = NULL;
        assert_int_equal(artifact_put_begin(f->store, d, 4, ephemeral, &put, NULL), ERR_OK);
        assert_int_equal(artifact_put_chunk(put, 0, span_of_text(TEXT("abcd")), NULL), ERR_OK);
        assert_int_equal(artifact_put_end(&put, NULL), ERR_DIGEST);
        assert_null(put);
        assert_false(artifact_is_present(f->store, d, 4, true));
    }
}

static void test_artifact__chunks_out_of_order_or_size_are_refused(void **state)
{
    struct fixture *f = *state;
    struct artifact_put *put = NULL;
    struct digest d = {{1}};
    struct span first = {f->big, DIGEST_CHUNK_BYTES};
    assert_int_equal(artifact_put_begin(f->store, d, BIG, true, &put, NULL), ERR_OK);
    assert_int_equal(artifact_put_chunk(put, 1, first, NULL), ERR_PROTOCOL);
    assert_int_equal(artifact_put_chunk(put, 0, (struct span){f->big, 10}, NULL), ERR_PROTOCOL);
    assert_int_equal(artifact_put_chunk(put, 0, first, NULL), ERR_OK);
    assert_int_equal(artifact_put_chunk(put, 0, first, NULL), ERR_OK); /* its answer was lost */
    assert_int_equal(artifact_put_chunk(put, 1, first, NULL), ERR_PROTOCOL);
    artifact_put_abandon(&put);
    struct digest ok = store_big(f, true); /* the room was given back */
    assert_true(has(f, ok));
}

static void test_artifact__a_killed_put_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/staging/1", f->folder);
    assert_int_equal(file_write_atomic(path, span_of_text(TEXT("half")), NULL), ERR_OK);
    artifact_store_close(&f->store);
    open_store(f);
    assert_false(file_exists(path));
}

static void test_artifact__old_round_traffic_makes_room_unless_pinned_or_held(void **state)
{
    struct fixture *f = *state;
    struct digest d[4];
    struct artifact held;
    for (size_t i = 0; i < 2; i++) { /* two fit into EPHEMERAL_MAX */
        f->big[0] = (uint8_t)i;
        d[i] = store_big(f, true);
    }
    artifact_pin(f->store, d[0]);
    f->big[0] = 2;
    d[2] = store_big(f, true);
    assert_true(artifact_is_present(f->store, d[0], BIG, true));
    assert_false(artifact_is_present(f->store, d[1], BIG, true));
    assert_int_equal(artifact_acquire(f->store, d[2], &held, NULL), ERR_OK);
    f->big[0] = 3;
    assert_int_equal(store(f, (struct span){f->big, BIG}, true, &d[3]), ERR_BUSY);
    artifact_drop(f->store, d[2]); /* still in hand */
    assert_int_equal(held.bytes.data[0], 2);
    artifact_release(f->store, &held);
    d[3] = store_big(f, true);
    artifact_unpin(f->store, d[0]);
    artifact_drop_unpinned(f->store);
    assert_false(artifact_is_present(f->store, d[0], BIG, true));
    assert_false(artifact_is_present(f->store, d[3], BIG, true));
}

static void test_artifact__a_path_is_checked_again_when_the_file_changed(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct digest d;
    struct err_text et = {""};
    struct span content = {f->big, BIG};
    (void)snprintf(path, sizeof path, "%s/input.bin", f->folder);
    assert_int_equal(file_write_atomic(path, content, NULL), ERR_OK);
    assert_int_equal(digest_of_artifact(content, &d), ERR_OK);
    assert_int_equal(artifact_register_path(f->store, path, (struct digest){{9}}, BIG, &et),
                     ERR_DIGEST);
    assert_int_equal(artifact_register_path(f->store, path, d, BIG - 1, &et), ERR_DIGEST);
    assert_int_equal(artifact_register_path(f->store, path, d, BIG, &et), ERR_OK);
    assert_true(has(f, d));
    char found[256];
    artifact_path(f->store, d, found, sizeof found);
    assert_string_equal(found, path);

    f->big[5] ^= 1;
    assert_int_equal(file_write_atomic(path, content, NULL), ERR_OK);
    f->big[5] ^= 1;
    struct artifact a;
    assert_int_equal(artifact_acquire(f->store, d, &a, &et), ERR_DIGEST);
    assert_true(strstr(et.text, "input.bin") != NULL);
    assert_false(artifact_is_present(f->store, d, BIG, false));
}

static void test_artifact__verify_finds_a_damaged_file(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct digest d = store_big(f, false);
    assert_int_equal(artifact_verify(f->store, d, NULL), ERR_OK);
    artifact_path(f->store, d, path, sizeof path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(artifact_verify(f->store, d, NULL), ERR_DIGEST);
}

static void test_artifact__check_sets_a_damaged_file_aside_for_a_new_one(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct digest d = store_big(f, false);
    assert_int_equal(artifact_check(f->store, d, NULL), ERR_OK);
    assert_true(artifact_is_present(f->store, d, BIG, false));
    artifact_path(f->store, d, path, sizeof path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(artifact_check(f->store, d, NULL), ERR_DIGEST);
    assert_false(artifact_is_present(f->store, d, BIG, false));
    assert_int_equal(artifact_check(f->store, d, NULL), ERR_NOT_FOUND);
    (void)store_big(f, false);
    assert_int_equal(artifact_check(f->store, d, NULL), ERR_OK);
}

/* One byte changed, cut, gone: behind the store's back, and before anybody looked. */
static void test_artifact__what_is_stored_again_is_sound_again(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct digest d = store_big(f, false);
    artifact_path(f->store, d, path, sizeof path);
    for (int damage = 0; damage < 3; damage++) {
        FILE *file = damage == 0 ? fopen(path, "r+b") : NULL;
        if (damage == 0) {
            assert_non_null(file);
            assert_int_equal(fputc(f->big[0] ^ 1, file), f->big[0] ^ 1);
            assert_int_equal(fclose(file), 0);
        } else {
            assert_int_equal(damage == 1 ? truncate(path, 5) : unlink(path), 0);
        }
        assert_true(digest_equal(store_big(f, false), d));
        assert_int_equal(artifact_check(f->store, d, NULL), ERR_OK);
    }
}

/* Who is asked again and again for what is being read says so, and takes no thread to wait. */
static void test_artifact__a_large_content_has_one_reader(void **state)
{
    struct fixture *f = *state;
    struct artifact_reading reading, other;
    struct artifact held;
    struct span leaves;
    struct digest d;
    uint8_t *zeros = test_calloc(1, LARGE);
    assert_int_equal(store(f, (struct span){zeros, LARGE}, false, &d), ERR_OK);
    test_free(zeros);
    artifact_store_close(&f->store); /* its leaves are known no more */
    open_store(f);

    assert_int_equal(artifact_reading_begin(f->store, d, LARGE, &reading), ERR_OK);
    assert_int_equal(artifact_reading_begin(f->store, d, LARGE, &other), ERR_BUSY);
    assert_int_equal(artifact_acquire(f->store, d, &held, NULL), ERR_OK);
    assert_int_equal(artifact_leaves(f->store, &held, &leaves), ERR_BUSY);
    assert_int_equal(artifact_verify(f->store, d, NULL), ERR_BUSY);
    assert_int_equal(artifact_check(f->store, d, NULL), ERR_OK); /* what has to be known now */
    artifact_reading_end(f->store, &reading);
    assert_int_equal(artifact_leaves(f->store, &held, &leaves), ERR_OK);
    assert_true(digest_equal(digest_root(LARGE, leaves.data, leaves.size / DIGEST_BYTES), d));
    assert_int_equal(artifact_verify(f->store, d, NULL), ERR_OK);
    assert_int_equal(artifact_reading_begin(f->store, d, LARGE, &reading), ERR_OK);
    assert_int_equal(artifact_leaves(f->store, &held, &leaves), ERR_OK); /* known by now */
    artifact_reading_end(f->store, &reading);
    artifact_release(f->store, &held);
}

static void test_artifact__only_some_large_contents_are_read_at_once(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 64 };
    struct artifact_reading readings[MANY], small;
    size_t count = 0;
    for (size_t i = 0; i < MANY; i++) {
        struct digest d = {{(uint8_t)(i + 1)}};
        if (artifact_reading_begin(f->store, d, LARGE, &readings[count]) != ERR_OK)
            break;
        count++;
    }
    assert_in_range(count, 1, 11); /* the coordinator's pool has 12 threads */
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(artifact_reading_begin(f->store, (struct digest){{1}}, 5, &small), ERR_OK);
    artifact_reading_end(f->store, &small);
    artifact_reading_end(f->store, &readings[0]);
    assert_int_equal(artifact_reading_begin(f->store, (struct digest){{99}}, LARGE, &readings[0]),
                     ERR_OK);
    for (size_t i = 0; i < count; i++)
        artifact_reading_end(f->store, &readings[i]);
}

static bool is_kept(void *context, struct digest digest)
{
    return digest_equal(*(struct digest *)context, digest);
}

static void test_artifact__collection_keeps_roots_young_and_held_files(void **state)
{
    struct fixture *f = *state;
    struct digest d[3];
    struct artifact held;
    uint64_t removed;
    for (size_t i = 0; i < 3; i++) {
        f->big[0] = (uint8_t)i;
        d[i] = store_big(f, false);
    }
    assert_int_equal(artifact_collect(f->store, is_kept, &d[0], 0, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 0);
    assert_int_equal(artifact_acquire(f->store, d[1], &held, NULL), ERR_OK);
    assert_int_equal(artifact_collect(f->store, is_kept, &d[0], INT64_MAX, &removed, NULL), ERR_OK);
    assert_int_equal(removed, 1);
    artifact_release(f->store, &held);
    assert_true(artifact_is_present(f->store, d[0], BIG, false));
    assert_true(artifact_is_present(f->store, d[1], BIG, false));
    assert_false(artifact_is_present(f->store, d[2], BIG, false));
}

/* The folder of an artifact, made if need be. */
static void on_folder_sync(struct fixture *f, struct digest digest, bool fails,
                           void (*visit)(void *context), void *context)
{
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%02x", f->folder, digest.v[0]);
    (void)mkdir(path, 0700);
    assert_int_equal(stat(path, &st), 0);
    folder_sync.folder = st.st_ino;
    folder_sync.fails = fails;
    folder_sync.context = context;
    folder_sync.visit = visit;
}

/* A put whose file has its name, in a folder that is not synced yet. */
struct unsettled {
    struct fixture *fixture;
    struct digest digest;
    struct artifact_put *other; /* of the same content */
    pthread_t thread;           /* ends the other */
    enum err other_err;
    bool was_present;
};

static struct artifact_put *put_big(struct fixture *f, struct digest digest)
{
    struct artifact_put *put = NULL;
    struct span first = {f->big, DIGEST_CHUNK_BYTES};
    struct span last = {f->big + DIGEST_CHUNK_BYTES, BIG - DIGEST_CHUNK_BYTES};
    assert_int_equal(artifact_put_begin(f->store, digest, BIG, false, &put, NULL), ERR_OK);
    assert_non_null(put);
    assert_int_equal(artifact_put_chunk(put, 0, first, NULL), ERR_OK);
    assert_int_equal(artifact_put_chunk(put, 1, last, NULL), ERR_OK);
    return put;
}

static void *end_other(void *context)
{
    struct unsettled *u = context;
    u->other_err = artifact_put_end(&u->other, NULL);
    return NULL;
}

static void visit(void *context)
{
    struct unsettled *u = context;
    struct fixture *f = u->fixture;
    u->was_present = artifact_is_present(f->store, u->digest, BIG, false);
    if (!u->was_present) {
        u->other = put_big(f, u->digest);
        assert_int_equal(pthread_create(&u->thread, NULL, end_other, u), 0);
    }
}

/* Power may go before the folder is synced, and the sync may fail: nobody is told that it is here.
 */
static void test_artifact__a_file_is_present_once_it_lasts(void **state)
{
    struct fixture *f = *state;
    for (int fails = 0; fails < 2; fails++) {
        struct unsettled u = {.fixture = f};
        char path[256];
        f->big[0] = (uint8_t)(0x10 + fails);
        assert_int_equal(digest_of_artifact((struct span){f->big, BIG}, &u.digest), ERR_OK);
        struct artifact_put *put = put_big(f, u.digest);
        on_folder_sync(f, u.digest, fails != 0, visit, &u);
        assert_int_equal(artifact_put_end(&put, NULL), fails ? ERR_IO : ERR_OK);
        assert_false(u.was_present);
        assert_int_equal(pthread_join(u.thread, NULL), 0);
        assert_int_equal(u.other_err, ERR_OK);
        artifact_path(f->store, u.digest, path, sizeof path);
        assert_true(file_exists(path));
        assert_true(has(f, u.digest));
        assert_int_equal(artifact_check(f->store, u.digest, NULL), ERR_OK);
    }
}

static void count(void *context)
{
    ++*(int *)context;
}

/* Killed between the two, a put leaves a file that the next start finds: it may be told of then. */
static void test_artifact__what_a_start_finds_lasts(void **state)
{
    struct fixture *f = *state;
    int count_of_syncs = 0;
    struct digest d = store_big(f, false);
    artifact_store_close(&f->store);
    on_folder_sync(f, d, false, count, &count_of_syncs);
    open_store(f);
    assert_int_equal(count_of_syncs, 1);
    assert_true(has(f, d));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static void test_artifact__what_is_retired_is_gone_at_once_and_may_come_again(void **state)
{
    struct fixture *f = *state;
    struct artifact held;
    uint64_t number, size;
    struct digest d = store_big(f, false), none = {{1}};
    assert_int_equal(artifact_size(f->store, d), BIG);
    assert_int_equal(artifact_size(f->store, none), 0);
    assert_int_equal(artifact_retire(f->store, none, &number, &size), ERR_NOT_FOUND);
    assert_int_equal(artifact_acquire(f->store, d, &held, NULL), ERR_OK);
    assert_int_equal(artifact_retire(f->store, d, &number, &size), ERR_OK);
    assert_int_equal(size, BIG);
    assert_false(artifact_is_present(f->store, d, BIG, false));
    assert_memory_equal(held.bytes.data, f->big, BIG); /* who reads it reads on */
    artifact_release(f->store, &held);
    assert_true(digest_equal(store_big(f, false), d));
    assert_int_equal(artifact_discard(f->store, number), ERR_OK);
    assert_int_equal(artifact_discard(f->store, number), ERR_NOT_FOUND);
    assert_true(has(f, d));
    assert_int_equal(artifact_retire(f->store, d, &number, &size), ERR_OK);
    artifact_store_close(&f->store); /* killed before it was discarded */
    open_store(f);
    assert_false(has(f, d));
    assert_int_equal(artifact_discard(f->store, number), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_artifact__durable_content_survives_a_reopen_with_its_leaves),
        TEST(test_artifact__round_traffic_is_gone_after_a_reopen),
        TEST(test_artifact__round_traffic_is_not_there_for_who_needs_it_to_last),
        TEST(test_artifact__empty_content_is_an_artifact),
        TEST(test_artifact__wrong_content_never_gets_the_name),
        TEST(test_artifact__chunks_out_of_order_or_size_are_refused),
        TEST(test_artifact__a_killed_put_leaves_nothing_behind),
        TEST(test_artifact__old_round_traffic_makes_room_unless_pinned_or_held),
        TEST(test_artifact__a_path_is_checked_again_when_the_file_changed),
        TEST(test_artifact__verify_finds_a_damaged_file),
        TEST(test_artifact__check_sets_a_damaged_file_aside_for_a_new_one),
        TEST(test_artifact__what_is_stored_again_is_sound_again),
        TEST(test_artifact__a_large_content_has_one_reader),
        TEST(test_artifact__only_some_large_contents_are_read_at_once),
        TEST(test_artifact__collection_keeps_roots_young_and_held_files),
        TEST(test_artifact__a_file_is_present_once_it_lasts),
        TEST(test_artifact__what_a_start_finds_lasts),
        TEST(test_artifact__what_is_retired_is_gone_at_once_and_may_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
