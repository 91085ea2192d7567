/* test_digest.c - known answers, and the tree against its definition however content arrives.
 *
 * The expected values were computed by Python's hashlib from the definition in digest.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/mem/mem.h"

static void assert_digest(struct digest d, const char *expected)
{
    char hex[DIGEST_HEX_BYTES];
    digest_hex(d, hex);
    assert_string_equal(hex, expected);
}

static void test_digest__known_answers_of_blake2b_256(void **state)
{
    (void)state;
    assert_digest(digest_of((struct span){0}),
                  "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
    assert_digest(digest_of(span_of_text(TEXT("abc"))),
                  "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    struct digest first;
    for (uint8_t i = 0; i < DIGEST_BYTES; i++)
        first.v[i] = i;
    assert_digest(digest_link(first, span_of_text(TEXT("abc"))),
                  "1d248b37e23c7b4735a5a439bc085c0cd59ddd1fb21e01c70b4bf8d7ea27096b");
}

static const struct {
    size_t size;
    const char *root;
} trees[] = {
    {0, "f7b1ba7f9618366193ada7cf4bb9904c175eab3003dea721d245fd0136b45eee"},
    {1, "7be1ca5b5974628ba4d49f1a95c8cc6c9d42f26c036a2d10346a295c815d264d"},
    {1048575, "5f346759c367d4047ab2acc6e27c6a04f5c97b70251930fe67cf0983f64d1abd"},
    {1048576, "d613dc0e156e95065719ad9548aca43033c9987234dab652477c7613289cf2e4"},
    {1048577, "c2e287e12ec31a322d34009cf28c8a45ec5b2a565e23995cde21d46be3ecf82b"},
    {2097152, "fd20832cc6ce0be90717ff7c37de5fa71952669b35568a589c4178db121149a2"},
    {3145733, "03b52b6da6d3a6bf777ddda95ce4c1ed26453fd0f2da4ae5577c0bc8eeed875d"},
};

static uint8_t *make_content(size_t size)
{
    uint8_t *content = mem_alloc(size, 1);
    assert_non_null(content);
    for (size_t i = 0; i < size; i++)
        content[i] = (uint8_t)(i % 256 * 31 + 7);
    return content;
}

static void test_digest__the_tree_has_the_root_of_its_definition(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(trees); i++) {
        uint8_t *content = make_content(trees[i].size);
        struct digest root;
        assert_int_equal(digest_of_artifact((struct span){content, trees[i].size}, &root), ERR_OK);
        assert_digest(root, trees[i].root);
        mem_free(content);
    }
}

static void test_digest__pieces_of_any_size_give_the_same_root(void **state)
{
    (void)state;
    const size_t size = trees[COUNT_OF(trees) - 1].size;
    static const size_t pieces[] = {4096, 65537, DIGEST_CHUNK_BYTES, DIGEST_CHUNK_BYTES + 1};
    uint8_t *content = make_content(size);
    for (size_t p = 0; p < COUNT_OF(pieces); p++) {
        struct digest_tree tree;
        struct digest root;
        digest_tree_init(&tree);
        digest_tree_update(&tree, (struct span){0});
        for (size_t at = 0; at < size; at += pieces[p])
            digest_tree_update(&tree, (struct span){content + at, MIN(pieces[p], size - at)});
        assert_int_equal(digest_tree_finish(&tree, &root), ERR_OK);
        assert_digest(root, trees[COUNT_OF(trees) - 1].root);
        assert_int_equal(tree.leaf_count, 4);
        struct digest leaf = digest_leaf((struct span){content + 3 * DIGEST_CHUNK_BYTES, 5});
        assert_memory_equal(tree.leaves + (size_t)3 * DIGEST_BYTES, leaf.v, DIGEST_BYTES);
        assert_digest(digest_root(size, tree.leaves, tree.leaf_count),
                      trees[COUNT_OF(trees) - 1].root);
        digest_tree_fini(&tree);
    }
    mem_free(content);
}

static void test_digest__leaf_and_content_of_the_same_bytes_differ(void **state)
{
    (void)state;
    struct span content = span_of_text(TEXT("abc"));
    assert_false(digest_equal(digest_of(content), digest_leaf(content)));
    assert_true(digest_is_zero((struct digest){{0}}));
    assert_false(digest_is_zero(digest_of(content)));
}

static void test_digest__names_are_parsed_strictly(void **state)
{
    (void)state;
    const char *name = "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8";
    struct digest d;
    assert_int_equal(digest_parse(text_of(name), &d), ERR_OK);
    assert_true(digest_equal(d, digest_of((struct span){0})));
    struct digest before = d;
    assert_int_equal(digest_parse((struct text){name, 63}, &d), ERR_FORMAT);
    assert_int_equal(digest_parse(TEXT(""), &d), ERR_FORMAT);
    char bad[65];
    memcpy(bad, name, sizeof bad);
    bad[63] = 'g';
    assert_int_equal(digest_parse(text_of(bad), &d), ERR_FORMAT);
    assert_true(digest_equal(d, before));
}

static void test_digest__every_allocation_of_the_tree_may_fail(void **state)
{
    (void)state;
    uint8_t *content = make_content(3 * DIGEST_CHUNK_BYTES);
    struct digest root = {{7}};
    (void)mem_fault_after(1);
    enum err err = digest_of_artifact((struct span){content, 3 * DIGEST_CHUNK_BYTES}, &root);
    (void)mem_fault_after(0);
    assert_int_equal(err, ERR_OUT_OF_MEMORY);
    assert_int_equal(root.v[0], 7);
    mem_free(content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest__known_answers_of_blake2b_256),
        cmocka_unit_test(test_digest__the_tree_has_the_root_of_its_definition),
        cmocka_unit_test(test_digest__pieces_of_any_size_give_the_same_root),
        cmocka_unit_test(test_digest__leaf_and_content_of_the_same_bytes_differ),
        cmocka_unit_test(test_digest__names_are_parsed_strictly),
        cmocka_unit_test(test_digest__every_allocation_of_the_tree_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
