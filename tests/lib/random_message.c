/* random_message.c - one walk over the rows of a descriptor. */
#include "tests/lib/random_message.h"

#include <string.h>

#include "common/base/check.h"

enum { TEXT_BYTES = 40, LIST_ROWS = 3 };

struct source {
    uint64_t state;
    struct arena *arena; /* borrowed */
};

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next(struct source *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Any number of significant bits is as likely as any other. */
static uint64_t next_number(struct source *s, unsigned bits)
{
    uint64_t shift = 64 - next(s) % (bits + 1);
    return shift == 64 ? 0 : next(s) >> shift;
}

static const uint8_t *next_bytes(struct source *s, size_t max, size_t *size, bool is_text)
{
    *size = next(s) % (MIN(max, (size_t)TEXT_BYTES) + 1);
    uint8_t *bytes = arena_alloc(s->arena, *size + 1, 1);
    ASSERT(bytes != NULL);
    for (size_t i = 0; i < *size; i++) {
        bytes[i] = (uint8_t)next(s);
        if (is_text && bytes[i] == 0)
            bytes[i] = 'x';
    }
    return bytes;
}

static double next_f64(struct source *s)
{
    uint64_t bits = next(s) % 8 == 0 ? 0x7ff8000000000001ull : next(s);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void fill(const struct message_type *type, struct source *s, uint8_t *value);

static void fill_list(const struct message_field *field, struct source *s, uint8_t *base)
{
    uint32_t count = (uint32_t)(next(s) % (MIN(field->max, (size_t)LIST_ROWS) + 1));
    uint8_t *rows = arena_alloc(s->arena, count + 1, field->type->size_bytes);
    ASSERT(rows != NULL);
    for (uint32_t i = 0; i < count; i++)
        fill(field->type, s, rows + i * field->type->size_bytes);
    memcpy(base + field->offset, &rows, sizeof rows);
    memcpy(base + field->count_offset, &count, sizeof count);
}

static void fill_field(const struct message_field *field, struct source *s, uint8_t *base)
{
    void *member = base + field->offset;
    size_t size;
    switch (field->kind) {
    case MESSAGE_BOOL:
        *(bool *)member = next(s) % 2 != 0;
        break;
    case MESSAGE_U32:
        *(uint32_t *)member = (uint32_t)next_number(s, 32);
        break;
    case MESSAGE_U64:
        *(uint64_t *)member = next_number(s, 64);
        break;
    case MESSAGE_I64:
        *(int64_t *)member = (int64_t)next_number(s, 63) * (next(s) % 2 != 0 ? 1 : -1);
        break;
    case MESSAGE_F64:
        *(double *)member = next_f64(s);
        break;
    case MESSAGE_TEXT:
        ((struct text *)member)->data = (const char *)next_bytes(s, field->max, &size, true);
        ((struct text *)member)->size = size;
        break;
    case MESSAGE_BLOB:
        ((struct span *)member)->data = next_bytes(s, field->max, &size, false);
        ((struct span *)member)->size = size;
        break;
    case MESSAGE_DIGEST:
        for (size_t i = 0; i < DIGEST_BYTES; i++)
            ((struct digest *)member)->v[i] = (uint8_t)next(s);
        break;
    case MESSAGE_OBJECT:
        fill(field->type, s, member);
        break;
    case MESSAGE_LIST:
        fill_list(field, s, base);
        break;
    }
}

static void fill(const struct message_type *type, struct source *s, uint8_t *value)
{
    for (size_t i = 0; i < type->field_count; i++)
        fill_field(&type->fields[i], s, value);
}

void random_message(const struct message_type *type, uint64_t seed, struct arena *arena,
                    void *value)
{
    struct source source = {seed, arena};
    memset(value, 0, type->size_bytes);
    fill(type, &source, value);
}
