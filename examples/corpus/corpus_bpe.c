/* corpus_bpe.c - words, pairs, merges; then the file. */
#include "examples/corpus/corpus_bpe.h"

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_write.h"
#include "common/mem/mem.h"

enum { WORDS_MAX = 4096, WORD_BYTES_MAX = 32, SPELLING_BYTES_MAX = 4 * WORD_BYTES_MAX };

struct word {
    struct text text; /* in the corpus */
    size_t count;
    size_t size; /* symbols */
    uint16_t symbols[WORD_BYTES_MAX];
};

struct learner {
    struct word words[WORDS_MAX];
    size_t word_count;
    size_t pairs[CORPUS_BPE_VOCABULARY][CORPUS_BPE_VOCABULARY];
    uint16_t merges[CORPUS_BPE_MERGES][2];
    size_t merge_count;
    char spelling[CORPUS_BPE_VOCABULARY][SPELLING_BYTES_MAX]; /* in the letters below */
};

/* Byte-level tokenizers spell every byte as a printable character: most stand for themselves, the
 * others are moved behind U+0100 in their order. */
static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static void spell_byte(unsigned byte, char *out)
{
    unsigned letter = byte, moved = 0;
    for (unsigned b = 0; b < byte; b++)
        moved += !stands_for_itself(b);
    if (!stands_for_itself(byte))
        letter = 0x100 + moved;
    if (letter < 0x80) {
        out[0] = (char)letter;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xc0 | letter >> 6);
        out[1] = (char)(0x80 | (letter & 0x3f));
        out[2] = '\0';
    }
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Length of the word at the start: a blank, then letters or other marks, as the tokenizer's own
 * pattern cuts texts of these bytes. */
static size_t word_size(struct text text)
{
    size_t size = text.data[0] == ' ' && text.size > 1 ? 1 : 0;
    bool letters = is_letter(text.data[size]);
    do {
        size++;
    } while (size < text.size && text.data[size] != ' ' && text.data[size] != '\n' &&
             is_letter(text.data[size]) == letters);
    return size;
}

static enum err count_word(struct learner *learner, struct text text)
{
    for (size_t i = 0; i < learner->word_count; i++) {
        if (text_equal(learner->words[i].text, text)) {
            learner->words[i].count++;
            return ERR_OK;
        }
    }
    if (learner->word_count == WORDS_MAX || text.size > WORD_BYTES_MAX)
        return ERR_LIMIT;
    struct word *word = &learner->words[learner->word_count++];
    *word = (struct word){.text = text, .count = 1, .size = text.size};
    for (size_t i = 0; i < text.size; i++)
        word->symbols[i] = (uint16_t)(CORPUS_BPE_SPECIALS + (uint8_t)text.data[i]);
    return ERR_OK;
}

static void count_pairs(struct learner *learner)
{
    memset(learner->pairs, 0, sizeof learner->pairs);
    for (size_t i = 0; i < learner->word_count; i++) {
        const struct word *word = &learner->words[i];
        for (size_t j = 1; j < word->size; j++)
            learner->pairs[word->symbols[j - 1]][word->symbols[j]] += word->count;
    }
}

/* The most frequent pair; false when no pair occurs twice. */
static bool best_pair(const struct learner *learner, uint16_t out[2])
{
    size_t best = 1;
    for (uint16_t a = 0; a < CORPUS_BPE_VOCABULARY; a++) {
        for (uint16_t b = 0; b < CORPUS_BPE_VOCABULARY; b++) {
            if (learner->pairs[a][b] > best) {
                best = learner->pairs[a][b];
                out[0] = a;
                out[1] = b;
            }
        }
    }
    return best > 1;
}

static void join(struct word *word, const uint16_t pair[2], uint16_t joined)
{
    size_t n = 0;
    for (size_t i = 0; i < word->size; i++) {
        bool fits =
            i + 1 < word->size && word->symbols[i] == pair[0] && word->symbols[i + 1] == pair[1];
        word->symbols[n++] = fits ? joined : word->symbols[i];
        i += fits;
    }
    word->size = n;
}

static void spell_pair(const struct learner *learner, const uint16_t pair[2], char *out)
{
    size_t left = strlen(learner->spelling[pair[0]]), right = strlen(learner->spelling[pair[1]]);
    ASSERT(left + right < SPELLING_BYTES_MAX);
    memcpy(out, learner->spelling[pair[0]], left);
    memcpy(out + left, learner->spelling[pair[1]], right + 1);
}

static enum err learn(struct learner *learner, struct text text)
{
    for (size_t at = 0; at < text.size;) {
        struct text rest = {text.data + at, text.size - at};
        struct text word = {rest.data, word_size(rest)};
        TRY(count_word(learner, word));
        at += word.size;
    }
    for (unsigned byte = 0; byte < 256; byte++)
        spell_byte(byte, learner->spelling[CORPUS_BPE_SPECIALS + byte]);
    while (learner->merge_count < CORPUS_BPE_MERGES) {
        uint16_t *pair = learner->merges[learner->merge_count];
        uint16_t joined = (uint16_t)(CORPUS_BPE_SPECIALS + 256 + learner->merge_count);
        count_pairs(learner);
        if (!best_pair(learner, pair))
            break;
        spell_pair(learner, pair, learner->spelling[joined]);
        for (size_t i = 0; i < learner->word_count; i++)
            join(&learner->words[i], pair, joined);
        learner->merge_count++;
    }
    return ERR_OK;
}

static const char *const specials[CORPUS_BPE_SPECIALS] = {"<s>", "</s>"};

static void write_specials(struct json_write *w)
{
    json_write_array_begin(w, "added_tokens");
    for (size_t i = 0; i < CORPUS_BPE_SPECIALS; i++) {
        json_write_object_begin(w, NULL);
        json_write_u64(w, "id", i);
        json_write_text(w, "content", text_of(specials[i]));
        json_write_bool(w, "single_word", false);
        json_write_bool(w, "lstrip", false);
        json_write_bool(w, "rstrip", false);
        json_write_bool(w, "normalized", false);
        json_write_bool(w, "special", true);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void write_model(struct json_write *w, const struct learner *learner)
{
    json_write_object_begin(w, "model");
    json_write_text(w, "type", TEXT("BPE"));
    json_write_null(w, "dropout");
    json_write_null(w, "unk_token");
    json_write_null(w, "continuing_subword_prefix");
    json_write_null(w, "end_of_word_suffix");
    json_write_bool(w, "fuse_unk", false);
    json_write_bool(w, "byte_fallback", false);
    json_write_object_begin(w, "vocab");
    for (size_t i = 0; i < CORPUS_BPE_SPECIALS; i++)
        json_write_u64(w, specials[i], i);
    for (size_t i = CORPUS_BPE_SPECIALS; i < CORPUS_BPE_SPECIALS + 256 + learner->merge_count; i++)
        json_write_u64(w, learner->spelling[i], i);
    json_write_object_end(w);
    json_write_array_begin(w, "merges");
    for (size_t i = 0; i < learner->merge_count; i++) {
        char text[2 * SPELLING_BYTES_MAX + 2];
        (void)snprintf(text, sizeof text, "%s %s", learner->spelling[learner->merges[i][0]],
                       learner->spelling[learner->merges[i][1]]);
        json_write_text(w, NULL, text_of(text));
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

static void write_byte_level(struct json_write *w, const char *key)
{
    json_write_object_begin(w, key);
    json_write_text(w, "type", TEXT("ByteLevel"));
    json_write_bool(w, "add_prefix_space", false);
    json_write_bool(w, "trim_offsets", true);
    json_write_bool(w, "use_regex", true);
    json_write_object_end(w);
}

/* Every text begins with <s>. */
static void write_template(struct json_write *w)
{
    json_write_object_begin(w, "post_processor");
    json_write_text(w, "type", TEXT("TemplateProcessing"));
    for (size_t pair = 0; pair < 2; pair++) {
        json_write_array_begin(w, pair == 0 ? "single" : "pair");
        for (size_t i = 0; i <= pair; i++) {
            json_write_object_begin(w, NULL);
            json_write_object_begin(w, "SpecialToken");
            json_write_text(w, "id", TEXT("<s>"));
            json_write_u64(w, "type_id", i);
            json_write_object_end(w);
            json_write_object_end(w);
            json_write_object_begin(w, NULL);
            json_write_object_begin(w, "Sequence");
            json_write_text(w, "id", i == 0 ? TEXT("A") : TEXT("B"));
            json_write_u64(w, "type_id", i);
            json_write_object_end(w);
            json_write_object_end(w);
        }
        json_write_array_end(w);
    }
    json_write_object_begin(w, "special_tokens");
    json_write_object_begin(w, "<s>");
    json_write_text(w, "id", TEXT("<s>"));
    json_write_array_begin(w, "ids");
    json_write_u64(w, NULL, 0);
    json_write_array_end(w);
    json_write_array_begin(w, "tokens");
    json_write_text(w, NULL, TEXT("<s>"));
    json_write_array_end(w);
    json_write_object_end(w);
    json_write_object_end(w);
    json_write_object_end(w);
}

enum err corpus_bpe_print(struct text text, struct bytes *out)
{
    struct learner *learner = mem_alloc(1, sizeof *learner);
    if (learner == NULL)
        return ERR_OUT_OF_MEMORY;
    enum err err = learn(learner, text);
    if (err == ERR_OK) {
        struct json_write w;
        json_write_init(&w, JSON_WRITE_PRETTY, 16 << 20);
        json_write_object_begin(&w, NULL);
        json_write_text(&w, "version", TEXT("1.0"));
        json_write_null(&w, "truncation");
        json_write_null(&w, "padding");
        json_write_null(&w, "normalizer");
        write_specials(&w);
        write_byte_level(&w, "pre_tokenizer");
        write_template(&w);
        write_byte_level(&w, "decoder");
        write_model(&w, learner);
        json_write_object_end(&w);
        err = json_write_close(&w, out);
    }
    mem_free(learner);
    return err;
}
