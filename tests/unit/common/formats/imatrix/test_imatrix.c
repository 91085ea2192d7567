/* test_imatrix.c - importance matrices of both forms: real ones, made ones, broken ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/imatrix/imatrix.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"

enum { FILE_BYTES_MAX = 1 << 24, GGUF_PADDING = 24 };

static bool find_real(const char *name, char *out, size_t out_bytes)
{
    const char *root = getenv("QFLEET_DATA");
    (void)snprintf(out, out_bytes, "%s/%s", root != NULL ? root : "../shared/data", name);
    if (file_exists(out))
        return true;
    print_message("skipped: %s is not there\n", out);
    return false;
}

/* A matrix in memory: two weights, "b" of two experts. */
static struct imatrix small(uint32_t chunk_size)
{
    static float a_sums[3] = {2.0f, 4.0f, 0.0f}, a_counts[1] = {4.0f};
    static float b_sums[4] = {1.0f, 2.0f, 3.0f, 4.0f}, b_counts[2] = {2.0f, 0.0f};
    static struct imatrix_entry entries[2];
    static struct text datasets[1];
    entries[0] = (struct imatrix_entry){TEXT("blk.0.a.weight"), 3, 1, a_sums, a_counts};
    entries[1] = (struct imatrix_entry){TEXT("blk.0.b.weight"), 2, 2, b_sums, b_counts};
    datasets[0] = TEXT("text.txt");
    return (struct imatrix){.entries = entries,
                            .count = 2,
                            .datasets = datasets,
                            .dataset_count = 1,
                            .chunk_count = 7,
                            .chunk_size = chunk_size};
}

static void write_bytes(const struct imatrix *m, enum imatrix_form form, struct bytes *out)
{
    bytes_init(out, FILE_BYTES_MAX);
    assert_int_equal(imatrix_write(m, form, file_sink_bytes, out), ERR_OK);
}

static void expect_same(const struct imatrix *a, const struct imatrix *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->chunk_count, b->chunk_count);
    assert_int_equal(a->chunk_size, b->chunk_size);
    assert_int_equal(a->dataset_count, b->dataset_count);
    for (size_t i = 0; i < a->dataset_count; i++)
        assert_true(text_equal(a->datasets[i], b->datasets[i]));
    for (size_t i = 0; i < a->count; i++) {
        const struct imatrix_entry *x = &a->entries[i], *y = &b->entries[i];
        assert_true(text_equal(x->name, y->name));
        assert_int_equal(x->columns, y->columns);
        assert_int_equal(x->matrices, y->matrices);
        assert_memory_equal(x->sums, y->sums, x->columns * x->matrices * sizeof(float));
        assert_memory_equal(x->counts, y->counts, x->matrices * sizeof(float));
    }
}

static void test_imatrix__gguf_comes_back_as_it_was(void **state)
{
    (void)state;
    struct imatrix m = small(512), back;
    struct bytes file;
    struct err_text et = {{0}};
    write_bytes(&m, IMATRIX_GGUF, &file);
    if (imatrix_parse(&back, bytes_span(&file), "made", &et) != ERR_OK)
        fail_msg("%s", et.text);
    expect_same(&m, &back);
    imatrix_close(&back);
    bytes_fini(&file);
}

static void test_imatrix__legacy_comes_back_as_it_was(void **state)
{
    (void)state;
    struct imatrix m = small(0), back;
    struct bytes file;
    m.count = 1;
    write_bytes(&m, IMATRIX_LEGACY, &file);
    assert_int_equal(imatrix_parse(&back, bytes_span(&file), "made", NULL), ERR_OK);
    expect_same(&m, &back);
    imatrix_close(&back);
    bytes_fini(&file);
}

static void test_imatrix__real_files_are_read_and_written_again(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t count;
        size_t columns;
    } files[] = {{"imatrix/calcuis_imatrix.dat", 154, 2048},
                 {"models/lm-6m/lm-6m.imatrix.dat", 42, 256}};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[256];
        struct imatrix m, back;
        struct bytes file;
        struct source source;
        struct err_text et = {{0}};
        if (!find_real(files[i].name, path, sizeof path))
            skip();
        if (imatrix_open(&m, path, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_int_equal(m.count, files[i].count);
        const struct imatrix_entry *entry = imatrix_find(&m, TEXT("blk.0.attn_q.weight"));
        assert_non_null(entry);
        assert_int_equal(entry->columns, files[i].columns);
        assert_null(imatrix_find(&m, TEXT("blk.0.attn_q")));
        write_bytes(&m, IMATRIX_LEGACY, &file);
        assert_int_equal(source_open(&source, path, NULL), ERR_OK);
        assert_int_equal(source.bytes.size, file.size);
        source_close(&source);
        assert_int_equal(imatrix_parse(&back, bytes_span(&file), "again", NULL), ERR_OK);
        expect_same(&m, &back);
        imatrix_close(&back);
        imatrix_close(&m);
        bytes_fini(&file);
    }
}

static void test_imatrix__means_are_sums_over_counts(void **state)
{
    (void)state;
    struct imatrix m = small(512);
    float mean[4];
    imatrix_mean(&m.entries[0], mean);
    assert_true(mean[0] == 0.5f && mean[1] == 1.0f && mean[2] == 0.0f);
    imatrix_mean(&m.entries[1], mean);
    assert_true(mean[0] == 0.5f && mean[1] == 1.0f && mean[2] == 1.0f && mean[3] == 1.0f);
}

static void test_imatrix__tokens_become_calls_of_chunks(void **state)
{
    (void)state;
    struct imatrix m = small(3), back;
    struct bytes file;
    float mean[3];
    m.count = 1; /* 4 tokens: two chunks of 3 */
    write_bytes(&m, IMATRIX_LEGACY, &file);
    assert_int_equal(imatrix_parse(&back, bytes_span(&file), "made", NULL), ERR_OK);
    assert_true(back.entries[0].counts[0] == 2.0f);
    imatrix_mean(&back.entries[0], mean);
    assert_true(mean[0] == 0.5f && mean[1] == 1.0f && mean[2] == 0.0f);
    imatrix_close(&back);
    bytes_fini(&file);
}

static void test_imatrix__files_add_up(void **state)
{
    (void)state;
    struct imatrix a = small(512), b = small(512), sum;
    a.count = 1;
    assert_int_equal(imatrix_merge((const struct imatrix *const[]){&a, &b}, 2, &sum, NULL), ERR_OK);
    assert_int_equal(sum.count, 2);
    assert_int_equal(sum.chunk_count, 14);
    assert_int_equal(sum.dataset_count, 2);
    assert_true(sum.entries[0].sums[1] == 8.0f && sum.entries[0].counts[0] == 8.0f);
    assert_true(sum.entries[1].sums[3] == 4.0f && sum.entries[1].counts[0] == 2.0f);
    imatrix_close(&sum);
}

static void test_imatrix__what_does_not_add_up_is_an_error(void **state)
{
    (void)state;
    struct imatrix a = small(512), b = small(0), sum;
    struct imatrix_entry other = a.entries[0];
    struct err_text et = {{0}};
    assert_int_equal(imatrix_merge((const struct imatrix *const[]){&a, &b}, 2, &sum, &et),
                     ERR_UNSUPPORTED);
    b = a;
    b.entries = &other;
    b.count = 1;
    other.columns = 2;
    assert_int_equal(imatrix_merge((const struct imatrix *const[]){&a, &b}, 2, &sum, &et),
                     ERR_SHAPE);
    assert_non_null(strstr(et.text, "blk.0.a.weight: expected 3 columns"));
}

static void test_imatrix__forms_that_cannot_hold_it_refuse(void **state)
{
    (void)state;
    struct imatrix m = small(512);
    struct bytes file;
    bytes_init(&file, FILE_BYTES_MAX);
    assert_int_equal(imatrix_write(&m, IMATRIX_LEGACY, file_sink_bytes, &file), ERR_UNSUPPORTED);
    m = small(0);
    assert_int_equal(imatrix_write(&m, IMATRIX_GGUF, file_sink_bytes, &file), ERR_UNSUPPORTED);
    assert_int_equal(file.size, 0);
    bytes_fini(&file);
}

/* Every cut of a file, and every byte turned over, is refused or read; never more. */
static void test_imatrix__damaged_files_end_in_errors(void **state)
{
    (void)state;
    for (int form = IMATRIX_LEGACY; form <= IMATRIX_GGUF; form++) {
        struct imatrix m = small(form == IMATRIX_LEGACY ? 0 : 512), back;
        struct bytes file;
        m.count = form == IMATRIX_LEGACY ? 1 : 2;
        write_bytes(&m, (enum imatrix_form)form, &file);
        struct span whole = bytes_span(&file);
        size_t refused = 0;
        uint8_t *copy = mem_alloc(whole.size, 1);
        assert_non_null(copy);
        for (size_t size = 0; size < whole.size; size++) {
            memcpy(copy, whole.data, size);
            enum err err = imatrix_parse(&back, (struct span){copy, size}, "cut", NULL);
            refused += err != ERR_OK;
            if (err == ERR_OK)
                imatrix_close(&back);
        }
        /* A legacy file may end behind its entries, a GGUF file before the last padding. */
        assert_int_equal(refused, whole.size - (form == IMATRIX_LEGACY ? 1 : GGUF_PADDING));
        for (size_t i = 0; i < whole.size; i++) {
            memcpy(copy, whole.data, whole.size);
            copy[i] ^= 0xff;
            if (imatrix_parse(&back, (struct span){copy, whole.size}, "turned", NULL) == ERR_OK)
                imatrix_close(&back);
        }
        mem_free(copy);
        bytes_fini(&file);
    }
}

static void test_imatrix__numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    static const float odd[] = {-1.0f, 1.0f / 0.0f, 0.0f / 0.0f};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        struct imatrix m = small(0), back;
        struct imatrix_entry entry = m.entries[0];
        float sums[3] = {1.0f, odd[i], 1.0f};
        struct bytes file;
        struct err_text et = {{0}};
        entry.sums = sums;
        m.entries = &entry;
        m.count = 1;
        write_bytes(&m, IMATRIX_LEGACY, &file);
        assert_int_equal(imatrix_parse(&back, bytes_span(&file), "odd", &et), ERR_NOT_FINITE);
        assert_non_null(strstr(et.text, "odd: blk.0.a.weight: expected sums of squares"));
        bytes_fini(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_imatrix__gguf_comes_back_as_it_was),
        cmocka_unit_test(test_imatrix__legacy_comes_back_as_it_was),
        cmocka_unit_test(test_imatrix__real_files_are_read_and_written_again),
        cmocka_unit_test(test_imatrix__means_are_sums_over_counts),
        cmocka_unit_test(test_imatrix__tokens_become_calls_of_chunks),
        cmocka_unit_test(test_imatrix__files_add_up),
        cmocka_unit_test(test_imatrix__what_does_not_add_up_is_an_error),
        cmocka_unit_test(test_imatrix__forms_that_cannot_hold_it_refuse),
        cmocka_unit_test(test_imatrix__damaged_files_end_in_errors),
        cmocka_unit_test(test_imatrix__numbers_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
