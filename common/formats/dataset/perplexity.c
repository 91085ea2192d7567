/* perplexity.c - the rules as notes and as a line, the number by our own exp. */
#include "common/formats/dataset/perplexity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/numeric/scalar.h"

static const char *const NAMES[] = {
    [PERPLEXITY_ROWS] = "rows",
    [PERPLEXITY_WINDOWS] = "windows",
    [PERPLEXITY_LLAMA_CPP] = "llama.cpp",
    [PERPLEXITY_WORDS] = "words",
};
_Static_assert(COUNT_OF(NAMES) == PERPLEXITY_PROTOCOL_COUNT, "a name for every protocol");

const char *perplexity_protocol_name(enum perplexity_protocol protocol)
{
    return NAMES[protocol];
}

size_t perplexity_notes(const struct perplexity *p, struct perplexity_notes *out)
{
    (void)snprintf(out->storage[0], sizeof out->storage[0], "%u", p->length);
    (void)snprintf(out->storage[1], sizeof out->storage[1], "%llu", (unsigned long long)p->words);
    out->notes[0] = (struct safetensors_note){TEXT("perplexity"), text_of(NAMES[p->protocol])};
    out->notes[1] = (struct safetensors_note){TEXT("perplexity.length"), text_of(out->storage[0])};
    out->notes[2] =
        (struct safetensors_note){TEXT("perplexity.bos"), p->has_bos ? TEXT("yes") : TEXT("no")};
    out->notes[3] = (struct safetensors_note){TEXT("perplexity.words"), text_of(out->storage[1])};
    out->notes[4] = (struct safetensors_note){TEXT("perplexity.tokenizer"), text_of(p->tokenizer)};
    return PERPLEXITY_NOTES;
}

static bool read_number(struct text digits, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    if (digits.size == 0 || digits.size > 18)
        return false;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(digits.data[i] - '0');
    }
    *out = value;
    return value <= most;
}

bool perplexity_tokenizer_read(struct text text, char out[PERPLEXITY_TOKENIZER_BYTES])
{
    if (text.size >= PERPLEXITY_TOKENIZER_BYTES)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        bool hex = (text.data[i] >= '0' && text.data[i] <= '9') ||
                   (text.data[i] >= 'a' && text.data[i] <= 'f');
        if (!hex)
            return false;
        out[i] = text.data[i];
    }
    out[text.size] = '\0';
    return true;
}

enum err perplexity_read(const struct safetensors *st, const char *name, struct perplexity *out,
                         struct err_text *et)
{
    struct text protocol = safetensors_note_of(st, "perplexity");
    struct text bos = safetensors_note_of(st, "perplexity.bos");
    struct perplexity p = {.protocol = PERPLEXITY_PROTOCOL_COUNT};
    uint64_t length = 0;
    if (protocol.data == NULL) {
        *out = (struct perplexity){.protocol = PERPLEXITY_ROWS};
        return ERR_OK;
    }
    for (unsigned i = 0; i < PERPLEXITY_PROTOCOL_COUNT; i++)
        if (text_is(protocol, NAMES[i]))
            p.protocol = (enum perplexity_protocol)i;
    if (p.protocol == PERPLEXITY_PROTOCOL_COUNT)
        return error_set(et, ERR_FORMAT, "%s: perplexity \"%.64s\" is not a protocol we know", name,
                         protocol.data);
    if (!read_number(safetensors_note_of(st, "perplexity.length"), UINT32_MAX, &length) ||
        !read_number(safetensors_note_of(st, "perplexity.words"), UINT64_MAX, &p.words) ||
        !perplexity_tokenizer_read(safetensors_note_of(st, "perplexity.tokenizer"), p.tokenizer) ||
        !(text_is(bos, "yes") || text_is(bos, "no")))
        return error_set(et, ERR_FORMAT, "%s: notes of the perplexity are malformed", name);
    p.length = (uint32_t)length;
    p.has_bos = text_is(bos, "yes");
    *out = p;
    return ERR_OK;
}

enum err perplexity_of_rows(struct span blob, struct perplexity *out, struct err_text *et)
{
    struct safetensors st = {0};
    TRY(safetensors_parse(&st, blob, "rows", et));
    enum err err = perplexity_read(&st, "rows", out, et);
    safetensors_close(&st);
    return err;
}

bool perplexity_equal(const struct perplexity *a, const struct perplexity *b)
{
    return a->protocol == b->protocol && a->length == b->length && a->has_bos == b->has_bos &&
           a->words == b->words && strcmp(a->tokenizer, b->tokenizer) == 0;
}

double perplexity_value(const struct perplexity *p, double loss_sum, double scored)
{
    double base = p->protocol == PERPLEXITY_WORDS ? (double)p->words : scored;
    return base > 0 ? scalar_exp(loss_sum / base) : NAN;
}

void perplexity_print_rules(const struct perplexity *p, struct bytes *out)
{
    switch (p->protocol) {
    case PERPLEXITY_ROWS:
        bytes_print(out, "rows as trained");
        if (p->length > 0)
            bytes_print(out, " of up to %u tokens", p->length);
        bytes_print(out, ", supervised tokens scored, per token");
        break;
    case PERPLEXITY_WINDOWS:
        bytes_print(out, "windows of %u tokens, %s, all scored, per token", p->length,
                    p->has_bos ? "BOS each" : "no BOS");
        break;
    case PERPLEXITY_LLAMA_CPP:
        bytes_print(out, "llama.cpp: windows of %u tokens, %s, second half scored, per token",
                    p->length, p->has_bos ? "BOS each" : "no BOS");
        break;
    case PERPLEXITY_WORDS:
        bytes_print(out,
                    "words: documents apart, %s, windows of %u tokens with context 1, all scored, "
                    "per word",
                    p->has_bos ? "BOS first" : "no BOS", p->length);
        break;
    case PERPLEXITY_PROTOCOL_COUNT:
        break;
    }
    if (p->tokenizer[0] != '\0')
        bytes_print(out, ", tokenizer %s", p->tokenizer);
}

void perplexity_print(const struct perplexity *p, double loss_sum, double scored, struct bytes *out)
{
    bytes_print(out, "perplexity %.4f (", perplexity_value(p, loss_sum, scored));
    perplexity_print_rules(p, out);
    bytes_print(out, ")");
}
