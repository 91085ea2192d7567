/* picture_png.c - shapes on a grid of palette indices, packed as PNG.
 *
 * Rows are stored as differences to the row above (filter 2), so flat areas are zeros; runs of one
 * byte become matches of distance 1 in the fixed code of deflate.
 *
 * Source: PNG specification (W3C, third edition), RFC 1950, RFC 1951.
 */
#include <math.h>
#include <string.h>

#include "cli/picture/picture.h"
#include "cli/picture/picture_font.h"
#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    SCALE = 2,
    TENTHS = 10,
    SHADES = 4,
    FILTER_UP = 2,
    RUN_MIN = 3,
    RUN_MAX = 258,
    ADLER = 65521
};

/* ---- drawing ---- */

struct canvas {
    size_t width, height;
    uint8_t *dots; /* owned: [height, width] indices of colours */
    uint32_t colors[PICTURE_COLORS_MAX];
    size_t color_count;
};

static enum err color_index(struct canvas *canvas, uint32_t color, uint8_t *out)
{
    size_t i = 0;
    while (i < canvas->color_count && canvas->colors[i] != color)
        i++;
    if (i == PICTURE_COLORS_MAX)
        return ERR_LIMIT;
    canvas->colors[i] = color;
    canvas->color_count = MAX(canvas->color_count, i + 1);
    *out = (uint8_t)i;
    return ERR_OK;
}

/* Whole dots of the canvas, cut at its edges. */
static void fill(struct canvas *canvas, int x, int y, int width, int height, uint8_t index)
{
    int right = MIN(x + width, (int)canvas->width), bottom = MIN(y + height, (int)canvas->height);
    x = MAX(x, 0);
    for (int row = MAX(y, 0); row < bottom && right > x; row++)
        memset(canvas->dots + (size_t)row * canvas->width + (size_t)x, index, (size_t)(right - x));
}

static bool is_start(unsigned char c)
{
    return (c & 0xc0) != 0x80; /* of a character in UTF-8 */
}

static void draw_glyph(struct canvas *canvas, const uint8_t *rows, int x, int y, int dot,
                       uint8_t index)
{
    for (int r = 0; r < PICTURE_FONT_HEIGHT; r++) {
        for (int c = 0; c < PICTURE_FONT_WIDTH; c++) {
            if (rows[r] >> (PICTURE_FONT_WIDTH - 1 - c) & 1)
                fill(canvas, x + c * dot, y + (r - PICTURE_FONT_RISE) * dot, dot, dot, index);
        }
    }
}

static void draw_text(struct canvas *canvas, const struct picture_shape *s, uint8_t index)
{
    int dot = s->size == PICTURE_TITLE ? 3 : 2, letters = 0;
    for (size_t i = 0; i < s->text.size; i++)
        letters += is_start((unsigned char)s->text.data[i]);
    int advance = PICTURE_FONT_ADVANCE * dot, width = letters * advance - dot;
    int x = s->x * SCALE - (s->anchor == PICTURE_RIGHT    ? width
                            : s->anchor == PICTURE_MIDDLE ? width / 2
                                                          : 0);
    for (size_t i = 0; i < s->text.size; i++) {
        unsigned char c = (unsigned char)s->text.data[i];
        if (!is_start(c))
            continue;
        draw_glyph(canvas, picture_font_glyph(c), x, s->y * SCALE, dot, index);
        x += advance;
    }
}

/* The colour over white, `part` of SHADES of it. */
static uint32_t blend(uint32_t color, uint32_t part)
{
    uint32_t mixed = 0;
    for (unsigned shift = 0; shift < 24; shift += 8)
        mixed |= (0xff - (0xff - (color >> shift & 0xff)) * part / SHADES) << shift;
    return mixed;
}

/* Distance of a dot's middle from a segment; all in dots. */
static double distance(double x, double y, const double a[2], const double b[2])
{
    double across = b[0] - a[0], down = b[1] - a[1], length = across * across + down * down;
    double part = length > 0 ? ((x - a[0]) * across + (y - a[1]) * down) / length : 0;
    part = MIN(MAX(part, 0.0), 1.0);
    double dx = x - a[0] - part * across, dy = y - a[1] - part * down;
    return sqrt(dx * dx + dy * dy);
}

/* Dots at the edge of a line get a shade, but only on white: what lies below stays readable. */
static void draw_segment(struct canvas *canvas, const double a[2], const double b[2], double half,
                         const uint8_t shades[SHADES + 1])
{
    int left = MAX((int)floor(MIN(a[0], b[0]) - half) - 1, 0);
    int right = MIN((int)ceil(MAX(a[0], b[0]) + half) + 1, (int)canvas->width - 1);
    int top = MAX((int)floor(MIN(a[1], b[1]) - half) - 1, 0);
    int bottom = MIN((int)ceil(MAX(a[1], b[1]) + half) + 1, (int)canvas->height - 1);
    for (int y = top; y <= bottom; y++) {
        for (int x = left; x <= right; x++) {
            double cover = half + 0.5 - distance(x + 0.5, y + 0.5, a, b);
            int level = (int)floor(MIN(MAX(cover, 0.0), 1.0) * SHADES + 0.5), before = 0;
            uint8_t *dot = &canvas->dots[(size_t)y * canvas->width + (size_t)x];
            for (int k = 1; k <= SHADES; k++)
                before = *dot == shades[k] ? k : before;
            if (level > before && (level == SHADES || before > 0 || *dot == shades[0]))
                *dot = shades[level];
        }
    }
}

static enum err draw_line(struct canvas *canvas, const struct picture_shape *s)
{
    uint8_t shades[SHADES + 1];
    for (uint32_t k = 0; k <= SHADES; k++)
        TRY(color_index(canvas, blend(s->color, k), &shades[k]));
    for (size_t i = 0; i < s->point_count; i++) {
        const struct picture_point *from = &s->points[i > 0 ? i - 1 : 0], *to = &s->points[i];
        const double a[2] = {(double)from->x * SCALE / TENTHS, (double)from->y * SCALE / TENTHS};
        const double b[2] = {(double)to->x * SCALE / TENTHS, (double)to->y * SCALE / TENTHS};
        draw_segment(canvas, a, b, (double)s->thickness * SCALE / TENTHS / 2, shades);
    }
    return ERR_OK;
}

static enum err draw(struct canvas *canvas, const struct picture *picture)
{
    uint8_t index;
    TRY(color_index(canvas, PICTURE_WHITE, &index));
    memset(canvas->dots, index, canvas->width * canvas->height);
    for (size_t i = 0; i < picture->count; i++) {
        const struct picture_shape *s = &picture->shapes[i];
        TRY(color_index(canvas, s->color, &index));
        if (s->points != NULL)
            TRY(draw_line(canvas, s));
        else if (s->height > 0)
            fill(canvas, s->x * SCALE, s->y * SCALE, s->width * SCALE, s->height * SCALE, index);
        else
            draw_text(canvas, s, index);
    }
    return ERR_OK;
}

/* ---- deflate ---- */

struct packer {
    struct bytes *out;
    uint32_t bits;
    unsigned count;     /* of bits that wait */
    uint32_t low, high; /* sums of Adler-32 */
    unsigned char last; /* of the run at hand */
    size_t run;
};

static void put_bits(struct packer *p, uint32_t value, unsigned count)
{
    p->bits |= value << p->count;
    p->count += count;
    for (; p->count >= 8; p->count -= 8, p->bits >>= 8)
        bytes_append(p->out, &(uint8_t){(uint8_t)p->bits}, 1);
}

/* Codes of Huffman go in from their first bit. */
static void put_code(struct packer *p, uint32_t code, unsigned count)
{
    for (unsigned i = count; i-- > 0;)
        put_bits(p, code >> i & 1, 1);
}

static void put_symbol(struct packer *p, unsigned symbol)
{
    if (symbol < 144)
        put_code(p, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(p, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(p, symbol - 256, 7);
    else
        put_code(p, 0xc0 + symbol - 280, 8);
}

/* `length` bytes equal to the one before. */
static void put_match(struct packer *p, unsigned length)
{
    unsigned code = 257, base = RUN_MIN, extra = 0;
    if (length == RUN_MAX) {
        put_symbol(p, 285);
    } else {
        while (length >= base + (1u << extra)) { /* four codes of each number of bits, eight of 0 */
            base += 1u << extra;
            code++;
            if (code >= 265 && (code - 265) % 4 == 0)
                extra++;
        }
        put_symbol(p, code);
        put_bits(p, length - base, extra);
    }
    put_code(p, 0, 5); /* distance 1 */
}

static void end_run(struct packer *p)
{
    while (p->run >= RUN_MIN) {
        size_t length = MIN(p->run, (size_t)RUN_MAX);
        put_match(p, (unsigned)length);
        p->run -= length;
    }
    for (; p->run > 0; p->run--)
        put_symbol(p, p->last);
}

static void pack(struct packer *p, uint8_t byte, bool is_first)
{
    p->low = (p->low + byte) % ADLER;
    p->high = (p->high + p->low) % ADLER;
    if (!is_first && byte == p->last) {
        p->run++;
        return;
    }
    end_run(p);
    put_symbol(p, byte);
    p->last = byte;
}

static void pack_canvas(const struct canvas *canvas, struct bytes *out)
{
    struct packer p = {.out = out, .low = 1};
    bytes_append(out, "\x78\x01", 2);
    put_bits(&p, 3, 3); /* the last block, of the fixed code */
    for (size_t y = 0; y < canvas->height; y++) {
        const uint8_t *row = canvas->dots + y * canvas->width;
        pack(&p, FILTER_UP, y == 0);
        for (size_t x = 0; x < canvas->width; x++)
            pack(&p, (uint8_t)(row[x] - (y > 0 ? row[x - canvas->width] : 0)), false);
    }
    end_run(&p);
    put_symbol(&p, 256);
    put_bits(&p, 0, (8 - p.count) % 8);
    const uint8_t sums[4] = {(uint8_t)(p.high >> 8), (uint8_t)p.high, (uint8_t)(p.low >> 8),
                             (uint8_t)p.low};
    bytes_append(out, sums, sizeof sums);
}

/* ---- the file ---- */

static void put_u32(struct bytes *out, uint32_t value)
{
    const uint8_t big[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                            (uint8_t)value};
    bytes_append(out, big, sizeof big);
}

static uint32_t crc(uint32_t sum, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (unsigned k = 0; k < 8; k++)
            sum = sum >> 1 ^ (0xedb88320u & -(sum & 1));
    }
    return sum;
}

static void put_chunk(struct bytes *out, const char *type, struct span content)
{
    put_u32(out, (uint32_t)content.size);
    bytes_append(out, type, 4);
    bytes_append(out, content.data, content.size);
    put_u32(out, ~crc(crc(UINT32_MAX, type, 4), content.data, content.size));
}

static void put_file(const struct canvas *canvas, struct bytes *part, struct bytes *out)
{
    static const uint8_t kind[5] = {8, 3, 0, 0, 0}; /* 8 bits, palette, no interlacing */
    bytes_append(out, "\x89PNG\r\n\x1a\n", 8);
    put_u32(part, (uint32_t)canvas->width);
    put_u32(part, (uint32_t)canvas->height);
    bytes_append(part, kind, sizeof kind);
    put_chunk(out, "IHDR", bytes_span(part));
    bytes_clear(part);
    for (size_t i = 0; i < canvas->color_count; i++) {
        const uint8_t rgb[3] = {(uint8_t)(canvas->colors[i] >> 16),
                                (uint8_t)(canvas->colors[i] >> 8), (uint8_t)canvas->colors[i]};
        bytes_append(part, rgb, sizeof rgb);
    }
    put_chunk(out, "PLTE", bytes_span(part));
    bytes_clear(part);
    pack_canvas(canvas, part);
    put_chunk(out, "IDAT", bytes_span(part));
    put_chunk(out, "IEND", (struct span){0});
}

enum err picture_write_png(const struct picture *picture, struct bytes *out)
{
    struct canvas canvas = {.width = (size_t)picture->width * SCALE,
                            .height = (size_t)picture->height * SCALE};
    struct bytes part;
    TRY(picture->err);
    canvas.dots = mem_alloc(canvas.width * canvas.height, 1);
    if (canvas.dots == NULL)
        return ERR_OUT_OF_MEMORY;
    bytes_init(&part, SIZE_MAX);
    enum err err = draw(&canvas, picture);
    if (err == ERR_OK) {
        put_file(&canvas, &part, out);
        err = bytes_status(&part) != ERR_OK ? bytes_status(&part) : bytes_status(out);
    }
    bytes_fini(&part);
    mem_free(canvas.dots);
    return err;
}
