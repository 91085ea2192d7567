/* picture.h - rectangles, lines and texts on a page, written as SVG or as PNG.
 *
 * A picture is a list of shapes with whole coordinates; later ones lie above earlier ones. Both
 * writers give the same bytes for the same shapes on every machine and need no library: SVG is
 * text; PNG is drawn at twice the size with a font and a compression of our own, which know as much
 * as flat areas and small words need.
 * Refuses to know: what is drawn.
 */
#ifndef CLI_PICTURE_PICTURE_H
#define CLI_PICTURE_PICTURE_H

#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { PICTURE_SIDE_MAX = 1 << 14, PICTURE_COLORS_MAX = 256 };

/* Colours are 0xRRGGBB. */
enum picture_color { PICTURE_WHITE = 0xffffff, PICTURE_INK = 0x1f2328, PICTURE_GREY = 0x6e7781 };

enum picture_anchor { PICTURE_LEFT, PICTURE_MIDDLE, PICTURE_RIGHT };

/* Heights of letters: of words and of titles. A letter of words is about 7 wide. */
enum picture_size { PICTURE_WORD = 11, PICTURE_TITLE = 16 };

/* A place in tenths of a unit: curves need more than whole coordinates. */
struct picture_point {
    int x, y;
};

struct picture_shape {
    int x, y;          /* of a text: its anchor on the base line */
    int width, height; /* of a rectangle; 0: a text */
    uint32_t color;
    struct text text; /* of a text; of a rectangle what SVG shows under the pointer */
    enum picture_anchor anchor;
    enum picture_size size;
    const struct picture_point *points; /* of a line; else NULL */
    size_t point_count;
    int thickness; /* in tenths */
};

struct picture {
    int width, height;
    struct arena arena; /* owned */
    struct picture_shape *shapes;
    size_t count, capacity;
    enum err err; /* first failure; told by the writers */
};

/* An empty white page, at most PICTURE_SIDE_MAX each way (asserted). */
void picture_init(struct picture *picture, int width, int height);
void picture_fini(struct picture *picture);

/* What lies beyond the page is cut. `title` may be NULL and is copied. */
void picture_rect(struct picture *picture, int x, int y, int width, int height, uint32_t color,
                  const char *title);
void picture_text(struct picture *picture, int x, int y, enum picture_size size,
                  enum picture_anchor anchor, uint32_t color, const char *format, ...) PRINTF(7, 8);

/* A line through the points, which are copied, with round ends; at least one. */
void picture_line(struct picture *picture, const struct picture_point *points, size_t count,
                  int thickness, uint32_t color);

/* Append the file. ERR_OUT_OF_MEMORY; ERR_LIMIT: more than PICTURE_COLORS_MAX colours in a PNG. */
MUST_CHECK enum err picture_write_svg(const struct picture *picture, struct bytes *out);
MUST_CHECK enum err picture_write_png(const struct picture *picture, struct bytes *out);

#endif
