/* test_cache.c - where artifacts are found, what is believed, what is kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/mem/mem.h"
#include "common/message/message.h"
#include "common/transport/transport.h"
#include "tests/lib/bulk/bulk_server.h"
#include "worker/cache/cache.h"

enum { BIG = DIGEST_CHUNK_BYTES * 3 / 2, ROOM = 4 * DIGEST_CHUNK_BYTES };

struct place {
    char folder[64];
    char path[128]; /* of the cache */
    struct bulk_server *server;
    struct cache *cache;
    uint8_t *content; /* BIG bytes */
};

static void cache_start(struct place *p, uint32_t patience_ms)
{
    const struct cache_options options = {.folder = p->path,
                                          .size_bytes_max = ROOM,
                                          .transport = {.frame_bytes_max = 4 << 20},
                                          .patience_ms = patience_ms};
    assert_int_equal(cache_create(&options, &p->cache, NULL), ERR_OK);
    assert_int_equal(cache_aim(p->cache, text_of(bulk_server_endpoint(p->server))), ERR_OK);
}

static int set_up(void **state)
{
    struct place *p = mem_alloc(1, sizeof *p);
    assert_non_null(p);
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/qfleet-cache-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    (void)snprintf(p->path, sizeof p->path, "%s/cache", p->folder);
    p->server = bulk_server_start(p->folder);
    assert_non_null(p->server);
    p->content = mem_alloc(BIG, 1);
    assert_non_null(p->content);
    for (size_t i = 0; i < BIG; i++)
        p->content[i] = (uint8_t)(i * 2654435761u >> 13);
    cache_start(p, 10000);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    char command[128];
    cache_destroy(&p->cache);
    bulk_server_stop(&p->server);
    (void)snprintf(command, sizeof command, "rm -rf %s", p->folder);
    assert_int_equal(system(command), 0);
    mem_free(p->content);
    mem_free(p);
    return 0;
}

/* An artifact at the coordinator, different for every `mark`. */
static struct artifact_ref at_server(struct place *p, uint8_t mark, bool ephemeral)
{
    p->content[BIG - 1] = mark;
    struct span content = {p->content, BIG};
    return (struct artifact_ref){.name = TEXT("thing"),
                                 .digest = bulk_server_add(p->server, content),
                                 .size_bytes = BIG,
                                 .ephemeral = ephemeral};
}

static void test_cache__what_is_fetched_is_kept_and_found_in_the_next_life(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL, *again = NULL;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_int_equal(item->bytes.size, BIG);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    assert_non_null(item->path);
    assert_int_equal(cache_open(p->cache, &ref, &again, NULL), ERR_OK);
    assert_ptr_equal(item, again);
    cache_release(p->cache, &item);
    cache_release(p->cache, &again);
    assert_int_equal(bulk_server_chunks(p->server), 2);
    cache_destroy(&p->cache);
    cache_start(p, 10000);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    cache_release(p->cache, &item);
    assert_int_equal(bulk_server_chunks(p->server), 2);
}

static void test_cache__a_path_that_both_can_read_is_used_only_if_it_is_the_artifact(void **state)
{
    struct place *p = *state;
    char path[160];
    struct artifact_ref ref = at_server(p, 1, false);
    (void)snprintf(path, sizeof path, "%s/shared", p->folder);
    ref.path = text_of(path);
    assert_int_equal(file_write_atomic(path, (struct span){p->content, BIG}, NULL), ERR_OK);
    const struct cache_item *item = NULL;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_string_equal(item->path, path);
    cache_release(p->cache, &item);
    assert_int_equal(bulk_server_chunks(p->server), 0);
    p->content[0] ^= 1; /* the file changes behind our back, its size does not */
    assert_int_equal(file_write_atomic(path, (struct span){p->content, BIG}, NULL), ERR_OK);
    p->content[0] ^= 1;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_string_not_equal(item->path, path);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    cache_release(p->cache, &item);
}

static void test_cache__a_corrupt_chunk_is_refused_and_asked_for_next_time(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    struct err_text et = {""};
    bulk_server_misbehave(p->server, BULK_SERVER_CORRUPT, 1);
    assert_int_equal(cache_open(p->cache, &ref, &item, &et), ERR_DIGEST);
    assert_non_null(strstr(et.text, "thing"));
    assert_null(item);
    bulk_server_misbehave(p->server, BULK_SERVER_CORRUPT, 0);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    cache_release(p->cache, &item);
}

static void test_cache__a_fetch_goes_on_where_it_was(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    char path[320], hex[DIGEST_HEX_BYTES];
    digest_hex(ref.digest, hex);
    (void)snprintf(path, sizeof path, "%s/part/%s", p->path, hex);
    struct span first = {p->content, DIGEST_CHUNK_BYTES};
    assert_int_equal(file_write_atomic(path, first, NULL), ERR_OK);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    assert_int_equal(bulk_server_chunks(p->server), 1);
    cache_release(p->cache, &item);
}

static void test_cache__a_damaged_file_is_fetched_again(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    char path[512];
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s", item->path);
    cache_release(p->cache, &item);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fputc(0xff, file), 0xff);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    cache_release(p->cache, &item);
}

static void test_cache__stays_within_its_bytes_and_never_drops_what_is_open(void **state)
{
    struct place *p = *state;
    struct artifact_ref refs[4];
    const struct cache_item *items[4] = {NULL};
    struct err_text et = {""};
    for (uint8_t i = 0; i < 4; i++)
        refs[i] = at_server(p, i, false);
    assert_int_equal(cache_open(p->cache, &refs[0], &items[0], NULL), ERR_OK);
    assert_int_equal(cache_open(p->cache, &refs[1], &items[1], NULL), ERR_OK);
    assert_int_equal(cache_open(p->cache, &refs[2], &items[2], &et), ERR_LIMIT);
    assert_non_null(strstr(et.text, "--cache-size"));
    cache_release(p->cache, &items[1]); /* now there is something to drop */
    assert_int_equal(cache_open(p->cache, &refs[2], &items[2], NULL), ERR_OK);
    cache_release(p->cache, &items[0]);
    cache_release(p->cache, &items[2]);
    uint64_t chunks = bulk_server_chunks(p->server);
    assert_int_equal(cache_open(p->cache, &refs[0], &items[0], NULL), ERR_OK);
    assert_int_equal(bulk_server_chunks(p->server), chunks);
    cache_release(p->cache, &items[0]);
}

static void test_cache__round_traffic_lies_in_memory_only(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, true);
    const struct cache_item *item = NULL;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_null(item->path);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    cache_release(p->cache, &item);
    ref.digest.v[0] ^= 1;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_UNREACHABLE);
    ref.ephemeral = false;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_NOT_FOUND);
}

static void test_cache__what_is_put_is_at_the_coordinator(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref;
    struct span content = {p->content, BIG};
    assert_int_equal(cache_put(p->cache, TEXT("rows"), content, false, &ref, NULL), ERR_OK);
    assert_true(text_is(ref.name, "rows"));
    assert_true(span_equal(bulk_server_find(p->server, ref.digest), content));
    assert_int_equal(cache_put(p->cache, TEXT("empty"), (struct span){NULL, 0}, false, &ref, NULL),
                     ERR_OK);
    assert_int_equal(ref.size_bytes, 0);
}

static enum err put(struct place *p, uint8_t mark)
{
    struct artifact_ref ref;
    p->content[BIG - 1] = mark;
    return cache_put(p->cache, TEXT("it"), (struct span){p->content, BIG}, true, &ref, NULL);
}

static void test_cache__what_is_put_waits_for_room(void **state)
{
    struct place *p = *state;
    bulk_server_misbehave(p->server, BULK_SERVER_BUSY, 9);
    assert_int_equal(put(p, 1), ERR_OK);
    cache_destroy(&p->cache);
    cache_start(p, 200);
    bulk_server_misbehave(p->server, BULK_SERVER_BUSY, 1000000);
    assert_int_equal(put(p, 2), ERR_BUSY);
}

static void test_cache__a_put_begins_again_at_a_coordinator_that_forgot_it(void **state)
{
    struct place *p = *state;
    bulk_server_misbehave(p->server, BULK_SERVER_FORGETFUL, 1);
    assert_int_equal(put(p, 3), ERR_OK);
}

/* Work that may be done again: never what the same input would meet again. */
static void test_cache__a_put_that_is_forgotten_for_ever_is_for_another_time(void **state)
{
    struct place *p = *state;
    bulk_server_misbehave(p->server, BULK_SERVER_FORGETFUL, 1000000);
    enum err err = put(p, 3);
    assert_int_equal(err, ERR_UNREACHABLE);
    assert_int_equal(error_retry(err), ERR_RETRY);
}

/* A coordinator that is slow to answer has done what it was asked. */
static void test_cache__a_put_goes_on_after_an_answer_that_did_not_come(void **state)
{
    struct place *p = *state;
    bulk_server_lose(p->server, MSG_PUT_CHUNK, 1);
    assert_int_equal(put(p, 5), ERR_OK);
    assert_int_equal(bulk_server_begun(p->server), 1);
    bulk_server_lose(p->server, MSG_PUT_END, 1);
    assert_int_equal(put(p, 6), ERR_OK);
}

static void test_cache__a_put_that_is_given_up_leaves_nothing_at_the_coordinator(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    cache_destroy(&p->cache);
    cache_start(p, 1000);
    bulk_server_lose(p->server, MSG_PUT_CHUNK, 1);
    assert_int_equal(put(p, 7), ERR_TIMEOUT);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK); /* served after the put */
    cache_release(p->cache, &item);
    assert_int_equal(bulk_server_begun(p->server), 1);
    assert_false(bulk_server_knows_put(p->server));
}

static void test_cache__late_replies_take_no_patience(void **state)
{
    struct place *p = *state;
    cache_destroy(&p->cache);
    cache_start(p, 300);
    bulk_server_misbehave(p->server, BULK_SERVER_LATE, 50);
    assert_int_equal(put(p, 4), ERR_OK);
}

static void test_cache__a_time_of_change_that_was_set_back_does_not_deceive(void **state)
{
    struct place *p = *state;
    char path[160];
    struct stat st;
    struct artifact_ref ref = at_server(p, 1, false);
    (void)snprintf(path, sizeof path, "%s/shared", p->folder);
    ref.path = text_of(path);
    assert_int_equal(file_write_atomic(path, (struct span){p->content, BIG}, NULL), ERR_OK);
    const struct cache_item *item = NULL;
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    cache_release(p->cache, &item);
    assert_int_equal(stat(path, &st), 0);
    FILE *file = fopen(path, "r+b"); /* the same inode, size and time of content */
    assert_non_null(file);
    assert_int_equal(fputc(p->content[0] ^ 1, file), p->content[0] ^ 1);
    assert_int_equal(fclose(file), 0);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_string_not_equal(item->path, path);
    assert_memory_equal(item->bytes.data, p->content, BIG);
    cache_release(p->cache, &item);
}

static void test_cache__an_unanswered_request_is_asked_again(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    bulk_server_misbehave(p->server, BULK_SERVER_MUTE, 1); /* of the leaves */
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    cache_release(p->cache, &item);
    ref = at_server(p, 2, false);
    bulk_server_lose(p->server, MSG_CHUNK_GET, 2);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    cache_release(p->cache, &item);
}

static void test_cache__patience_ends_and_a_cancel_ends_it_sooner(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    cache_destroy(&p->cache);
    cache_start(p, 200);
    bulk_server_misbehave(p->server, BULK_SERVER_MUTE, 1000);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_TIMEOUT);
    cache_cancel(p->cache);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_CANCELLED);
    bulk_server_misbehave(p->server, BULK_SERVER_MUTE, 0);
    cache_resume(p->cache);
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    cache_release(p->cache, &item);
}

static void test_cache__one_process_a_folder(void **state)
{
    struct place *p = *state;
    const struct cache_options options = {.folder = p->path, .size_bytes_max = ROOM};
    struct cache *other = NULL;
    struct err_text et = {""};
    assert_int_equal(cache_create(&options, &other, &et), ERR_EXISTS);
    assert_null(other);
}

static void test_cache__a_view_gives_files_their_names_back(void **state)
{
    struct place *p = *state;
    struct artifact_ref ref = at_server(p, 1, false);
    const struct cache_item *item = NULL;
    struct text name = TEXT("model.safetensors"), bad = TEXT("../escape");
    char *folder = NULL, path[512];
    assert_int_equal(cache_open(p->cache, &ref, &item, NULL), ERR_OK);
    assert_int_equal(cache_view(p->cache, &item, &bad, 1, &folder, NULL), ERR_DATA);
    assert_null(folder);
    assert_int_equal(cache_view(p->cache, &item, &name, 1, &folder, NULL), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_true(file_exists(path));
    cache_unview(p->cache, &folder);
    assert_null(folder);
    assert_false(file_exists(path));
    cache_release(p->cache, &item);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cache__what_is_fetched_is_kept_and_found_in_the_next_life),
        TEST(test_cache__a_path_that_both_can_read_is_used_only_if_it_is_the_artifact),
        TEST(test_cache__a_corrupt_chunk_is_refused_and_asked_for_next_time),
        TEST(test_cache__a_fetch_goes_on_where_it_was),
        TEST(test_cache__a_damaged_file_is_fetched_again),
        TEST(test_cache__stays_within_its_bytes_and_never_drops_what_is_open),
        TEST(test_cache__round_traffic_lies_in_memory_only),
        TEST(test_cache__what_is_put_is_at_the_coordinator),
        TEST(test_cache__what_is_put_waits_for_room),
        TEST(test_cache__a_put_begins_again_at_a_coordinator_that_forgot_it),
        TEST(test_cache__a_put_that_is_forgotten_for_ever_is_for_another_time),
        TEST(test_cache__a_put_goes_on_after_an_answer_that_did_not_come),
        TEST(test_cache__a_put_that_is_given_up_leaves_nothing_at_the_coordinator),
        TEST(test_cache__late_replies_take_no_patience),
        TEST(test_cache__a_time_of_change_that_was_set_back_does_not_deceive),
        TEST(test_cache__an_unanswered_request_is_asked_again),
        TEST(test_cache__patience_ends_and_a_cancel_ends_it_sooner),
        TEST(test_cache__one_process_a_folder),
        TEST(test_cache__a_view_gives_files_their_names_back),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
