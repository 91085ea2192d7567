/* test_store.c - the contract of store.h, held by both implementations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/store/store_lmdb.h"
#include "coordinator/store/store_mem.h"

enum { MAP_BYTES = 64 << 20 };

struct fixture {
    char folder[64]; /* empty: in memory */
    struct store *store;
};

static struct store *open_lmdb(const char *folder)
{
    struct store *store = NULL;
    struct err_text et = {""};
    struct store_lmdb_options options = {folder, MAP_BYTES};
    enum err err = store_lmdb_open(&options, &store, &et);
    if (err != ERR_OK)
        fail_msg("%s", et.text);
    return store;
}

static int set_up_lmdb(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/qfleet-store-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    f->store = open_lmdb(f->folder);
    *state = f;
    return 0;
}

static int set_up_mem(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    f->folder[0] = '\0';
    *state = f;
    return store_mem_create(&f->store) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_destroy(&f->store);
    static const char *const files[] = {"data.mdb", "lock.mdb", "owner"};
    for (size_t i = 0; i < 3 && f->folder[0] != '\0'; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", f->folder, files[i]);
        (void)unlink(path);
    }
    if (f->folder[0] != '\0')
        (void)rmdir(f->folder);
    test_free(f);
    return 0;
}

struct seen {
    uint64_t seqs[64];
    char texts[64][16];
    size_t count;
    size_t stop_after;
};

static enum err on_record(void *context, uint64_t seq, const struct store_record *record)
{
    struct seen *seen = context;
    seen->seqs[seen->count] = seq;
    (void)snprintf(seen->texts[seen->count], 16, "%u:%.*s", record->number,
                   (int)record->payload.size, (const char *)record->payload.data);
    seen->count++;
    return seen->count == seen->stop_after ? ERR_CANCELLED : ERR_OK;
}

static struct store_record record_of(uint32_t number, const char *text)
{
    return (struct store_record){number, 1000 + number, span_of_text(text_of(text))};
}

static void test_store__batches_come_back_in_order(void **state)
{
    struct fixture *f = *state;
    struct store_record first[] = {record_of(1, "a"), record_of(2, "b")};
    struct store_record second[] = {record_of(3, "")};
    struct seen seen = {0};
    assert_int_equal(store_append(f->store, first, 2, NULL), ERR_OK);
    assert_int_equal(store_append(f->store, second, 1, NULL), ERR_OK);
    assert_int_equal(store_append(f->store, NULL, 0, NULL), ERR_OK);
    assert_int_equal(store_last(f->store), 3);
    assert_int_equal(store_read(f->store, 0, on_record, &seen, NULL), ERR_OK);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.texts[0], "1:a");
    assert_string_equal(seen.texts[1], "2:b");
    assert_string_equal(seen.texts[2], "3:");
    assert_int_equal(seen.seqs[2], 3);
}

static void test_store__reading_starts_after_a_number_and_stops_when_told(void **state)
{
    struct fixture *f = *state;
    struct store_record batch[] = {record_of(1, "a"), record_of(2, "b"), record_of(3, "c")};
    struct seen seen = {.stop_after = 1};
    assert_int_equal(store_append(f->store, batch, 3, NULL), ERR_OK);
    assert_int_equal(store_read(f->store, 1, on_record, &seen, NULL), ERR_CANCELLED);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.texts[0], "2:b");
    assert_int_equal(store_read(f->store, 3, on_record, &seen, NULL), ERR_OK);
    assert_int_equal(seen.count, 1);
}

static void test_store_mem__a_failed_append_ends_the_store(void **state)
{
    struct fixture *f = *state;
    struct store_record batch[] = {record_of(1, "a")};
    struct err_text et = {""};
    store_mem_fail_after(f->store, 2);
    assert_int_equal(store_append(f->store, batch, 1, &et), ERR_OK);
    assert_int_equal(store_append(f->store, batch, 1, &et), ERR_DISK_FULL);
    assert_int_equal(store_append(f->store, batch, 1, &et), ERR_STORE);
    assert_int_equal(store_last(f->store), 1);
}

static void test_store_mem__a_broken_link_is_named(void **state)
{
    struct fixture *f = *state;
    struct store_record batch[] = {record_of(1, "a"), record_of(2, "bb"), record_of(3, "c")};
    struct err_text et = {""};
    struct seen seen = {0};
    size_t size;
    assert_int_equal(store_append(f->store, batch, 3, NULL), ERR_OK);
    store_mem_envelope(f->store, 2, &size)[size - 1] ^= 1;
    assert_int_equal(store_read(f->store, 0, on_record, &seen, &et), ERR_STORE);
    assert_int_equal(seen.count, 1);
    assert_true(strstr(et.text, "record 2") != NULL);
}

static void test_store_lmdb__a_second_process_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *other = NULL;
    struct err_text et = {""};
    struct store_lmdb_options options = {f->folder, MAP_BYTES};
    assert_int_equal(store_lmdb_open(&options, &other, &et), ERR_BUSY);
    assert_true(strstr(et.text, f->folder) != NULL);
}

static void test_store_lmdb__records_survive_a_reopen(void **state)
{
    struct fixture *f = *state;
    struct store_record batch[] = {record_of(1, "a"), record_of(2, "b")};
    struct seen seen = {0};
    assert_int_equal(store_append(f->store, batch, 2, NULL), ERR_OK);
    store_destroy(&f->store);
    f->store = open_lmdb(f->folder);
    assert_int_equal(store_last(f->store), 2);
    assert_int_equal(store_append(f->store, batch, 1, NULL), ERR_OK);
    assert_int_equal(store_read(f->store, 0, on_record, &seen, NULL), ERR_OK);
    assert_int_equal(seen.count, 3);
}

static void test_store_lmdb__a_changed_byte_refuses_the_start(void **state)
{
    struct fixture *f = *state;
    struct store_record batch[] = {record_of(7, "a payload to be found")};
    struct err_text et = {""};
    char path[128];
    assert_int_equal(store_append(f->store, batch, 1, NULL), ERR_OK);
    store_destroy(&f->store);
    (void)snprintf(path, sizeof path, "%s/data.mdb", f->folder);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    static char content[1 << 20];
    size_t size = fread(content, 1, sizeof content, file);
    size_t changed = 0;
    for (size_t i = 0; i + 21 <= size; i++)
        if (memcmp(content + i, "a payload to be found", 21) == 0) {
            assert_int_equal(fseek(file, (long)i, SEEK_SET), 0);
            assert_int_equal(fputc('A', file), 'A');
            changed++;
        }
    assert_int_equal(fclose(file), 0);
    assert_true(changed > 0);
    struct store_lmdb_options options = {f->folder, MAP_BYTES};
    assert_int_equal(store_lmdb_open(&options, &f->store, &et), ERR_STORE);
    assert_true(strstr(et.text, "record 1") != NULL);
}

static void test_store_lmdb__a_full_map_is_told_and_final(void **state)
{
    struct fixture *f = *state;
    static char big[1 << 20];
    struct err_text et = {""};
    memset(big, 'x', sizeof big - 1);
    struct store_record batch[] = {record_of(1, big)};
    enum err err = ERR_OK;
    for (size_t i = 0; i < 2 * (MAP_BYTES >> 20) && err == ERR_OK; i++)
        err = store_append(f->store, batch, 1, &et);
    assert_int_equal(err, ERR_DISK_FULL);
    assert_true(store_percent_used(f->store) > 70);
    assert_int_equal(store_append(f->store, batch, 1, &et), ERR_STORE);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_mem, tear_down),                                  \
        cmocka_unit_test_setup_teardown(test, set_up_lmdb, tear_down)
#define MEM(test)  cmocka_unit_test_setup_teardown(test, set_up_mem, tear_down)
#define LMDB(test) cmocka_unit_test_setup_teardown(test, set_up_lmdb, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_store__batches_come_back_in_order),
        BOTH(test_store__reading_starts_after_a_number_and_stops_when_told),
        MEM(test_store_mem__a_failed_append_ends_the_store),
        MEM(test_store_mem__a_broken_link_is_named),
        LMDB(test_store_lmdb__a_second_process_is_refused),
        LMDB(test_store_lmdb__records_survive_a_reopen),
        LMDB(test_store_lmdb__a_changed_byte_refuses_the_start),
        LMDB(test_store_lmdb__a_full_map_is_told_and_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
