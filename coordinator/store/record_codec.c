/* record_codec.c - see record_codec.h. */
#include "coordinator/store/record_codec.h"

#include <string.h>

#include "common/wire/wire.h"

enum err record_codec_write(uint32_t number, const union message_record *record, struct bytes *out)
{
    const struct message_type *type = message_record_type_of(number);
    return type == NULL ? ERR_INTERNAL : wire_encode_fields(type, record, out);
}

enum err record_codec_read(uint32_t number, struct span payload, struct arena *arena,
                           union message_record *out)
{
    const struct message_type *type = message_record_type_of(number);
    if (type == NULL)
        return ERR_STORE;
    memset(out, 0, sizeof *out);
    enum err err = wire_decode_fields(type, payload, arena, out);
    return err == ERR_OK || err == ERR_OUT_OF_MEMORY ? err : ERR_STORE;
}
