/* fuzz_record.c - a record that is read from a payload is written to the same payload, and an
 * envelope is read only when every byte is as it was written. The first byte is the record's kind.
 */
#include "common/base/check.h"
#include "coordinator/store/envelope.h"
#include "coordinator/store/record_codec.h"
#include "tests/fuzz/fuzz.h"

static void check_codec(uint32_t number, struct span payload)
{
    struct arena arena;
    struct bytes again;
    union message_record record;
    arena_init(&arena, 64 << 20);
    bytes_init(&again, 64 << 20);
    if (record_codec_read(number, payload, &arena, &record) == ERR_OK) {
        enum err err = record_codec_write(number, &record, &again);
        ASSERT(err == ERR_OK);
        ASSERT(again.size >= payload.size); /* older records are shorter */
    }
    arena_fini(&arena);
    bytes_fini(&again);
}

static void check_envelope(struct span content)
{
    struct digest link = envelope_genesis();
    struct store_record record;
    struct err_text et;
    if (envelope_read(content, 1, &link, &record, &et) != ERR_OK)
        return;
    struct bytes again;
    struct digest from = envelope_genesis();
    bytes_init(&again, 64 << 20);
    enum err err = envelope_write(&record, &from, &again);
    ASSERT(err == ERR_OK);
    ASSERT(span_equal(bytes_span(&again), content) && digest_equal(from, link));
    bytes_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    check_codec(data[0], (struct span){data + 1, size - 1});
    check_envelope((struct span){data, size});
    return 0;
}
