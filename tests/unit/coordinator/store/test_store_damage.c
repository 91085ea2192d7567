/* test_store_damage.c - a store's file that was cut or overwritten: an error at start, never a
 * signal. */
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

#include "coordinator/store/store_lmdb.h"

enum { MAP_BYTES = 64 << 20, PAGE_BYTES = 4096, BATCHES = 120, BIG_BYTES = 40000 };

struct fixture {
    char folder[64];
    char path[96];
    uint8_t *content; /* of a sound file */
    size_t size;
};

static enum err open_store(const struct fixture *f, struct err_text *et)
{
    struct store *store = NULL;
    struct store_lmdb_options options = {f->folder, MAP_BYTES};
    enum err err = store_lmdb_open(&options, &store, et);
    store_destroy(&store);
    return err;
}

/* Small records, and long ones that need pages of their own; many transactions, so that pages are
 * freed and used again. */
static void fill(const struct fixture *f)
{
    static char big[BIG_BYTES];
    struct store *store = NULL;
    struct err_text et = {""};
    struct store_lmdb_options options = {f->folder, MAP_BYTES};
    memset(big, 'x', sizeof big);
    assert_int_equal(store_lmdb_open(&options, &store, &et), ERR_OK);
    for (uint32_t i = 0; i < BATCHES; i++) {
        struct store_record batch[2] = {
            {1, i, span_of_text(TEXT("a record of a few bytes"))},
            {2, i, {(const uint8_t *)big, i % 20 == 0 ? sizeof big : 300}},
        };
        assert_int_equal(store_append(store, batch, 2, &et), ERR_OK);
    }
    store_destroy(&store);
}

static int set_up(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    struct stat st;
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/qfleet-damage-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    (void)snprintf(f->path, sizeof f->path, "%s/data.mdb", f->folder);
    fill(f);
    assert_int_equal(stat(f->path, &st), 0);
    f->size = (size_t)st.st_size;
    f->content = test_malloc(f->size);
    FILE *file = fopen(f->path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(f->content, 1, f->size, file), f->size);
    assert_int_equal(fclose(file), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const files[] = {"data.mdb", "lock.mdb", "owner"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", f->folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(f->folder);
    test_free(f->content);
    test_free(f);
    return 0;
}

static void write_content(const struct fixture *f, size_t size)
{
    FILE *file = fopen(f->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(f->content, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void test_store_damage__a_sound_file_opens(void **state)
{
    struct fixture *f = *state;
    struct err_text et = {""};
    assert_int_equal(open_store(f, &et), ERR_OK);
    assert_true(f->size > 60 * (size_t)PAGE_BYTES);
}

static void test_store_damage__a_cut_file_is_named(void **state)
{
    struct fixture *f = *state;
    for (size_t size = 100; size < f->size; size += PAGE_BYTES / 2 + 100) {
        struct err_text et = {""};
        write_content(f, size);
        assert_int_equal(open_store(f, &et), ERR_STORE);
        assert_non_null(strstr(et.text, "data.mdb: page"));
        assert_non_null(strstr(et.text, "restore the store from a backup"));
    }
}

static void test_store_damage__pages_of_garbage_never_crash(void **state)
{
    struct fixture *f = *state;
    static const uint8_t fills[] = {0x00, 0xff, 0xa5, 0x01};
    size_t refused = 0, tried = 0;
    uint8_t kept[PAGE_BYTES];
    for (size_t at = 0; at + PAGE_BYTES <= f->size; at += PAGE_BYTES) {
        for (size_t i = 0; i < sizeof fills; i++, tried++) {
            struct err_text et = {""};
            size_t skip = i % 2 == 0 ? 0 : 14; /* the second half keeps number and kind */
            memcpy(kept, f->content + at, sizeof kept);
            memset(f->content + at + skip, fills[i], PAGE_BYTES - skip);
            write_content(f, f->size);
            memcpy(f->content + at, kept, sizeof kept);
            refused += open_store(f, &et) != ERR_OK;
        }
    }
    assert_true(refused > tried / 2); /* free pages may hold anything */
}

static void test_store_damage__single_bits_never_crash(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 7;
    for (int i = 0; i < 400; i++) {
        struct err_text et = {""};
        random = random * 1664525u + 1013904223u;
        /* heads of pages, where the structure lies */
        size_t at = (random >> 8) % (f->size / PAGE_BYTES) * PAGE_BYTES + (random >> 3) % 64;
        f->content[at] ^= (uint8_t)(1u << (random >> 29));
        write_content(f, f->size);
        f->content[at] ^= (uint8_t)(1u << (random >> 29));
        (void)!open_store(f, &et);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_store_damage__##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sound_file_opens),
        TEST(a_cut_file_is_named),
        TEST(pages_of_garbage_never_crash),
        TEST(single_bits_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
