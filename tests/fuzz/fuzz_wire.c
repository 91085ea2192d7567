/* fuzz_wire.c - whatever is accepted as a message or a record encodes to the same bytes. */
#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/wire/wire.h"
#include "tests/fuzz/fuzz.h"

enum { RECORD_NUMBERS = 32 };

static void try_message(struct span frame, struct arena *arena, struct bytes *again)
{
    const struct message_type *type;
    union message_any value;
    if (wire_decode(frame, arena, &type, &value) != ERR_OK)
        return;
    ASSERT(wire_encode(type, &value, again) == ERR_OK);
    ASSERT(span_equal(bytes_span(again), frame));
}

/* The first byte says which record the rest is. */
static void try_record(struct span input, struct arena *arena, struct bytes *again)
{
    union message_record value;
    if (input.size == 0)
        return;
    const struct message_type *type = message_record_type_of(input.data[0] % RECORD_NUMBERS);
    struct span frame = {input.data + 1, input.size - 1};
    if (type == NULL || wire_decode_fields(type, frame, arena, &value) != ERR_OK)
        return;
    ASSERT(wire_encode_fields(type, &value, again) == ERR_OK);
    ASSERT(span_equal(bytes_span(again), frame));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct bytes again;
    arena_init(&arena, WIRE_ARENA_BYTES);
    bytes_init(&again, SIZE_MAX);
    try_message((struct span){data, size}, &arena, &again);
    arena_reset(&arena);
    bytes_clear(&again);
    try_record((struct span){data, size}, &arena, &again);
    arena_fini(&arena);
    bytes_fini(&again);
    return 0;
}
