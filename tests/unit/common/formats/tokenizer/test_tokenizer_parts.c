/* test_tokenizer_parts.c - the parts of a tokenizer by themselves: Unicode, patterns, merging. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/tokenizer/bpe.h"
#include "common/formats/tokenizer/pretokenizer.h"
#include "common/formats/tokenizer/regex.h"
#include "common/formats/tokenizer/unicode.h"
#include "common/formats/tokenizer/word_split.h"

enum { BUFFER_BYTES = 1 << 20 };

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

/* Text of characters that the rules of splitting tell apart. */
static struct text random_text(uint64_t *state, char *out, size_t limit)
{
    static const char *const bits[] = {
        "a",
        "Z",
        "\xC3\xA9",
        "7",
        "\xE2\x85\xA7",
        " ",
        "\n",
        "\t",
        "'",
        "s",
        "ll",
        "ve",
        "\xC2\xA0",
        "\r",
        ".",
        "!",
        "\xE3\x80\x80",
        "\xF0\x9F\xA6\x99",
        "\xCC\x81",
        "\xE1\xA0\x8E",
        "_",
        "\xC2\x85",
        "S",
        "RE",
        "\xC5\xBF",
        "42",
        "r",
        "d",
        "S",
        "LL",
        "\xC5\xBF",
        "42",
        "r",
    };
    size_t size = 0;
    size_t count = next_random(state) % 24;
    for (size_t i = 0; i < count && size + 4 < limit; i++) {
        const char *bit = bits[next_random(state) % COUNT_OF(bits)];
        memcpy(out + size, bit, strlen(bit));
        size += strlen(bit);
    }
    return (struct text){out, size};
}

static void test_unicode__what_is_not_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    static const struct {
        struct text in;
        const char *out;
    } rows[] = {
        {TEXT("plain"), "plain"},
        {TEXT("a\x80z"), "a\xEF\xBF\xBDz"},
        {TEXT("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* overlong */
        {TEXT("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {TEXT("\xE2\x82"), "\xEF\xBF\xBD"}, /* cut off: one for the start */
        {TEXT("\xF0\x9F\xA6x"), "\xEF\xBF\xBDx"},
        {TEXT("\xF4\x90\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes out;
        bytes_init(&out, BUFFER_BYTES);
        unicode_repair(rows[i].in, false, &out);
        assert_int_equal(out.size, strlen(rows[i].out));
        assert_memory_equal(out.data, rows[i].out, out.size);
        bytes_fini(&out);
    }
}

static void test_unicode__forms_equal_the_standard_examples(void **state)
{
    (void)state;
    static const struct {
        enum unicode_form form;
        const char *in;
        const char *out;
    } rows[] = {
        {UNICODE_NFC, "e\xCC\x81", "\xC3\xA9"},
        {UNICODE_NFD, "\xC3\xA9", "e\xCC\x81"},
        {UNICODE_NFKC, "\xEF\xAC\x81", "fi"},
        {UNICODE_NFKD, "\xEF\xBC\xA1\xC3\xA9", "Ae\xCC\x81"},
        {UNICODE_NFC, "", ""},
        {UNICODE_NFC, "\xED\x95\x9C", "\xED\x95\x9C"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes out;
        bytes_init(&out, BUFFER_BYTES);
        bytes_append(&out, "x", 1); /* whatever the alignment */
        assert_int_equal(unicode_normalize(text_of(rows[i].in), rows[i].form, &out), ERR_OK);
        assert_int_equal(out.size, strlen(rows[i].out) + 1);
        assert_memory_equal(out.data + 1, rows[i].out, out.size - 1);
        bytes_fini(&out);
    }
}

static size_t by_hand(size_t pattern, struct text text, size_t at)
{
    if (pattern == 0)
        return word_split_gpt2(text, at);
    return word_split_llama3(text, at, pattern == 1 ? 3 : 1);
}

static void test_word_split__equals_its_pattern(void **state)
{
    (void)state;
    static const char *const patterns[] = {WORD_SPLIT_GPT2, WORD_SPLIT_LLAMA3, WORD_SPLIT_QWEN2};
    struct regex_scratch *scratch = NULL;
    uint64_t random = 1;
    assert_int_equal(regex_scratch_create(&scratch), ERR_OK);
    for (size_t p = 0; p < COUNT_OF(patterns); p++) {
        struct regex *regex = NULL;
        assert_int_equal(regex_create(text_of(patterns[p]), &regex, NULL), ERR_OK);
        for (int round = 0; round < 20000; round++) {
            char buffer[128];
            struct text text = random_text(&random, buffer, sizeof(buffer));
            for (size_t at = 0; at < text.size;) {
                bool found;
                size_t begin, end;
                assert_int_equal(regex_next(regex, scratch, text, at, &found, &begin, &end),
                                 ERR_OK);
                assert_true(found && begin == at);
                if (by_hand(p, text, at) != end)
                    fail_msg("pattern %zu of '%.*s' at %zu: %zu, expected %zu", p, TEXT_ARGS(text),
                             at, by_hand(p, text, at), end);
                at = end;
            }
        }
        regex_destroy(&regex);
    }
    regex_scratch_destroy(&scratch);
}

static void test_regex__effort_is_bounded(void **state)
{
    (void)state;
    struct regex *regex = NULL;
    struct regex_scratch *scratch = NULL;
    char text[64];
    bool found;
    size_t begin, end;
    memset(text, 'a', sizeof(text));
    assert_int_equal(regex_create(TEXT("(a+)+$|(a|a)*b"), &regex, NULL), ERR_OK);
    assert_int_equal(regex_scratch_create(&scratch), ERR_OK);
    text[63] = 'c';
    assert_int_equal(regex_next(regex, scratch, (struct text){text, 64}, 0, &found, &begin, &end),
                     ERR_LIMIT);
    regex_scratch_destroy(&scratch);
    regex_destroy(&regex);
}

static void test_regex__what_reads_differently_is_refused(void **state)
{
    (void)state;
    struct regex *regex = NULL;
    struct err_text et = {0};
    assert_int_equal(regex_create(TEXT("[a-z&&[^b]]"), &regex, &et), ERR_UNSUPPORTED);
    assert_non_null(strstr(et.text, "a set inside a set"));
    assert_int_equal(regex_create(TEXT("(a"), &regex, &et), ERR_UNSUPPORTED);
    assert_non_null(strstr(et.text, "at byte 2"));
    assert_null(regex);
}

static void test_pretokenizer__byte_characters_are_one_to_one(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++)
        assert_int_equal(pretokenizer_char_byte(pretokenizer_byte_char((uint8_t)byte)), (int)byte);
    assert_int_equal(pretokenizer_byte_char(' '), 0x120);
    assert_int_equal(pretokenizer_byte_char('\n'), 0x10A);
    assert_int_equal(pretokenizer_byte_char(0xAD), 0x143);
    assert_int_equal(pretokenizer_char_byte(0x2581), -1);
}

/* A vocabulary of a to h, and merges of random pairs of tokens. */
struct toy {
    struct arena arena;
    struct vocab vocab;
    struct bpe bpe;
    struct {
        uint32_t left, right, result;
    } merges[64];
    uint32_t merge_count;
};

static void toy_make(struct toy *toy, uint64_t *random)
{
    arena_init(&toy->arena, 1 << 26);
    assert_int_equal(vocab_init(&toy->vocab, &toy->arena, 256), ERR_OK);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(vocab_add(&toy->vocab, &toy->arena, i, (struct text){&"abcdefgh"[i], 1}),
                         ERR_OK);
    assert_int_equal(bpe_init(&toy->bpe, &toy->arena, &toy->vocab, COUNT_OF(toy->merges)), ERR_OK);
    toy->merge_count = 0;
    for (uint32_t i = 0; i < COUNT_OF(toy->merges); i++) {
        uint32_t left = (uint32_t)(next_random(random) % toy->vocab.size);
        uint32_t right = (uint32_t)(next_random(random) % toy->vocab.size);
        struct text l = toy->vocab.tokens[left];
        struct text r = toy->vocab.tokens[right];
        char joined[64];
        if (l.size + r.size > sizeof(joined))
            continue;
        memcpy(joined, l.data, l.size);
        memcpy(joined + l.size, r.data, r.size);
        struct text text = {joined, l.size + r.size};
        if (vocab_find(&toy->vocab, text) != UINT32_MAX)
            continue;
        uint32_t result = toy->vocab.size;
        assert_int_equal(vocab_add(&toy->vocab, &toy->arena, result, text), ERR_OK);
        bpe_add_merge(&toy->bpe, left, right, toy->merge_count, result);
        toy->merges[toy->merge_count].left = left;
        toy->merges[toy->merge_count].right = right;
        toy->merges[toy->merge_count++].result = result;
    }
    bpe_finish(&toy->bpe);
}

/* The definition: the first merge of the list that occurs, at its leftmost place, again and again.
 */
static size_t merge_by_definition(const struct toy *toy, uint32_t *ids, size_t count)
{
    for (uint32_t rank = 0; rank < toy->merge_count;) {
        size_t at = 0;
        while (at + 1 < count &&
               !(ids[at] == toy->merges[rank].left && ids[at + 1] == toy->merges[rank].right))
            at++;
        if (at + 1 >= count) {
            rank++;
            continue;
        }
        ids[at] = toy->merges[rank].result;
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof(*ids));
        count--;
        rank = 0;
    }
    return count;
}

static void test_bpe__scan_heap_seams_and_cache_equal_the_definition(void **state)
{
    (void)state;
    uint64_t random = 7;
    for (int round = 0; round < 60; round++) {
        struct toy toy;
        struct bpe_scratch *scratch = NULL;
        toy_make(&toy, &random);
        assert_int_equal(bpe_scratch_create(&scratch), ERR_OK);
        for (int piece = 0; piece < 60; piece++) {
            char text[200];
            uint32_t want[200];
            struct token_list got;
            size_t count = next_random(&random) % (piece % 2 ? 12 : sizeof(text));
            for (size_t i = 0; i < count; i++) {
                want[i] = (uint32_t)(next_random(&random) % 8);
                text[i] = "abcdefgh"[want[i]];
            }
            size_t want_count = merge_by_definition(&toy, want, count);
            token_list_init(&got);
            assert_int_equal(bpe_encode(&toy.bpe, scratch, (struct text){text, count}, &got),
                             ERR_OK);
            assert_int_equal(got.count, want_count);
            if (want_count > 0)
                assert_memory_equal(got.ids, want, want_count * sizeof(*want));
            token_list_fini(&got);
        }
        bpe_scratch_destroy(&scratch);
        arena_fini(&toy.arena);
    }
}

static void test_bpe__unknown_characters_fuse_or_fall_back_to_bytes(void **state)
{
    (void)state;
    struct toy toy;
    struct bpe_scratch *scratch = NULL;
    uint64_t random = 3;
    struct token_list got;
    toy_make(&toy, &random);
    token_list_init(&got);
    assert_int_equal(bpe_scratch_create(&scratch), ERR_OK);
    toy.bpe.unk = 0;
    toy.bpe.fuse_unk = true;
    toy.bpe.byte_fallback = true; /* no byte pieces: of no effect */
    bpe_finish(&toy.bpe);
    assert_int_equal(bpe_encode(&toy.bpe, scratch, TEXT("\xC3\xA9\xC3\xA9X"), &got), ERR_OK);
    assert_int_equal(got.count, 1);
    assert_int_equal(got.ids[0], 0);
    bpe_scratch_destroy(&scratch);
    token_list_fini(&got);
    arena_fini(&toy.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unicode__what_is_not_utf8_becomes_replacement_characters),
        cmocka_unit_test(test_unicode__forms_equal_the_standard_examples),
        cmocka_unit_test(test_word_split__equals_its_pattern),
        cmocka_unit_test(test_regex__effort_is_bounded),
        cmocka_unit_test(test_regex__what_reads_differently_is_refused),
        cmocka_unit_test(test_pretokenizer__byte_characters_are_one_to_one),
        cmocka_unit_test(test_bpe__scan_heap_seams_and_cache_equal_the_definition),
        cmocka_unit_test(test_bpe__unknown_characters_fuse_or_fall_back_to_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
