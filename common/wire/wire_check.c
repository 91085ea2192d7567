/* wire_check.c - the walk over a hostile frame before anything is allocated for it.
 *
 * msgpack-c reserves memory for an array by its header alone: five bytes may ask for gigabytes. So
 * every length is held against the bytes that remain, and every header must be the shortest that
 * says the same, before msgpack-c is called. No recursion: open arrays lie on a small stack.
 */
#include "common/base/limits.h"
#include "common/wire/wire.h"

struct walk {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t left(const struct walk *w)
{
    return (size_t)(w->end - w->at);
}

/* A big-endian number of `width` bytes after the tag; false when they are missing. */
static bool number(struct walk *w, size_t width, uint64_t *out)
{
    if (left(w) < width)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | *w->at++;
    *out = value;
    return true;
}

/* The value of an unsigned integer needs all of `width` bytes: shortest form. */
static enum err check_unsigned(struct walk *w, size_t width)
{
    uint64_t value;
    if (!number(w, width, &value))
        return ERR_TRUNCATED;
    uint64_t least = width == 1 ? 128 : 1ull << (width * 4);
    return value >= least ? ERR_OK : ERR_PROTOCOL;
}

static enum err check_signed(struct walk *w, size_t width)
{
    uint64_t bits;
    if (!number(w, width, &bits))
        return ERR_TRUNCATED;
    unsigned shift = (unsigned)(64 - width * 8);
    uint64_t magnitude = ~(uint64_t)((int64_t)(bits << shift) >> shift); /* of -1 - value */
    bool negative = (bits >> (width * 8 - 1) & 1) != 0;
    uint64_t least = width == 1 ? 32 : 1ull << (width * 4 - 1);
    return negative && magnitude >= least ? ERR_OK : ERR_PROTOCOL;
}

/* Skips `size` content bytes of a str or bin whose header held the size in `width` bytes. */
static enum err check_content(struct walk *w, size_t width, uint64_t least)
{
    uint64_t size = 0;
    if (!number(w, width, &size))
        return ERR_TRUNCATED;
    if (size < least)
        return ERR_PROTOCOL;
    if (size > left(w))
        return ERR_TRUNCATED;
    w->at += size;
    return ERR_OK;
}

static enum err check_array(struct walk *w, size_t width, uint64_t least, uint64_t *count)
{
    if (!number(w, width, count))
        return ERR_TRUNCATED;
    if (*count < least)
        return ERR_PROTOCOL;
    return *count <= left(w) ? ERR_OK : ERR_TRUNCATED; /* an element takes a byte or more */
}

/* One object's head, and its content unless it is an array: then *count is its length. */
static enum err check_object(struct walk *w, bool *is_array, uint64_t *count)
{
    uint8_t tag = *w->at++;
    *is_array = false;
    if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc2 || tag == 0xc3)
        return ERR_OK;
    if ((tag & 0xf0) == 0x90) {
        *is_array = true;
        *count = tag & 0x0f;
        return *count <= left(w) ? ERR_OK : ERR_TRUNCATED;
    }
    if ((tag & 0xe0) == 0xa0) {
        size_t size = tag & 0x1f;
        if (size > left(w))
            return ERR_TRUNCATED;
        w->at += size;
        return ERR_OK;
    }
    switch (tag) {
    case 0xc4: /* bin 8, 16, 32 */
        return check_content(w, 1, 0);
    case 0xc5:
        return check_content(w, 2, 1u << 8);
    case 0xc6:
        return check_content(w, 4, 1u << 16);
    case 0xd9: /* str 8, 16, 32 */
        return check_content(w, 1, 32);
    case 0xda:
        return check_content(w, 2, 1u << 8);
    case 0xdb:
        return check_content(w, 4, 1u << 16);
    case 0xcc: /* uint 8, 16, 32, 64 */
    case 0xcd:
    case 0xce:
    case 0xcf:
        return check_unsigned(w, (size_t)1 << (tag - 0xcc));
    case 0xd0: /* int 8, 16, 32, 64 */
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return check_signed(w, (size_t)1 << (tag - 0xd0));
    case 0xdc: /* array 16, 32 */
        *is_array = true;
        return check_array(w, 2, 16, count);
    case 0xdd:
        *is_array = true;
        return check_array(w, 4, 1u << 16, count);
    default: /* nil, maps, floats, extensions are no part of the form */
        return ERR_PROTOCOL;
    }
}

enum err wire_check(struct span frame, size_t depth_max, size_t object_max)
{
    struct walk w = {frame.data, frame.data + frame.size};
    uint64_t open[LIMIT_FRAME_DEPTH] = {0}; /* elements still to come, outermost first */
    size_t depth = 0;
    size_t objects = 0;
    if (depth_max > LIMIT_FRAME_DEPTH)
        depth_max = LIMIT_FRAME_DEPTH;
    do {
        if (left(&w) == 0)
            return ERR_TRUNCATED;
        if (++objects > object_max)
            return ERR_LIMIT;
        bool is_array;
        uint64_t count = 0;
        TRY(check_object(&w, &is_array, &count));
        if (depth > 0)
            open[depth - 1]--;
        if (is_array) {
            if (depth == depth_max)
                return ERR_LIMIT;
            open[depth++] = count;
        }
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
    } while (depth > 0);
    return left(&w) == 0 ? ERR_OK : ERR_PROTOCOL; /* trailing bytes */
}
