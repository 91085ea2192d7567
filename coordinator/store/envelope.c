/* envelope.c - see envelope.h. */
#include "coordinator/store/envelope.h"

#include <inttypes.h>
#include <string.h>

static void put_le(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *in, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

/* Two links: one over the head, one over the payload, so that no copy is needed. */
static struct digest link_of(struct digest previous, const uint8_t head[ENVELOPE_HEAD_BYTES],
                             struct span payload)
{
    struct digest after_head = digest_link(previous, (struct span){head, ENVELOPE_HEAD_BYTES});
    return digest_link(after_head, payload);
}

struct digest envelope_genesis(void)
{
    return digest_of(span_of_text(TEXT("qfleet record log")));
}

enum err envelope_write(const struct store_record *record, struct digest *link, struct bytes *out)
{
    if (record->number > UINT16_MAX || record->payload.size > UINT32_MAX)
        return ERR_LIMIT;
    uint8_t head[ENVELOPE_HEAD_BYTES] = {ENVELOPE_VERSION};
    put_le(head + 2, record->number, 2);
    put_le(head + 4, record->payload.size, 4);
    put_le(head + 8, record->unix_ms, 8);
    struct digest next = link_of(*link, head, record->payload);
    bytes_append(out, head, sizeof head);
    bytes_append(out, next.v, sizeof next.v);
    bytes_append(out, record->payload.data, record->payload.size);
    TRY(bytes_status(out));
    *link = next;
    return ERR_OK;
}

enum err envelope_read(struct span content, uint64_t seq, struct digest *link,
                       struct store_record *record, struct err_text *et)
{
    if (content.size < ENVELOPE_BYTES)
        return error_set(et, ERR_STORE, "record %" PRIu64 ": %zu bytes, an envelope has %d", seq,
                         content.size, ENVELOPE_BYTES);
    if (content.data[0] != ENVELOPE_VERSION || content.data[1] != 0)
        return error_set(et, ERR_STORE, "record %" PRIu64 ": envelope version %u, expected %d", seq,
                         content.data[0], ENVELOPE_VERSION);
    struct span payload = {content.data + ENVELOPE_BYTES, content.size - ENVELOPE_BYTES};
    if (get_le(content.data + 4, 4) != payload.size)
        return error_set(et, ERR_STORE,
                         "record %" PRIu64 ": payload of %zu bytes, head says %" PRIu64, seq,
                         payload.size, get_le(content.data + 4, 4));
    struct digest next = link_of(*link, content.data, payload);
    if (memcmp(next.v, content.data + ENVELOPE_HEAD_BYTES, sizeof next.v) != 0)
        return error_set(et, ERR_STORE,
                         "record %" PRIu64 ": the hash chain is broken here: this record or one "
                         "before it is not what was written; restore the store from a backup",
                         seq);
    *record = (struct store_record){.number = (uint32_t)get_le(content.data + 2, 2),
                                    .unix_ms = get_le(content.data + 8, 8),
                                    .payload = payload};
    *link = next;
    return ERR_OK;
}
