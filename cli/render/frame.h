/* frame.h - a page of characters in colours, put together before anything is shown of it: printed
 * once, or laid onto the screen again and again.
 *
 * A cell is one column: a character with its marks, or the right half of a wide one. What would
 * steer a terminal becomes "?", as does everything beyond ASCII where the page is to have none;
 * what lies beyond the page is cut. Refuses to know: terminals.
 */
#ifndef CLI_RENDER_FRAME_H
#define CLI_RENDER_FRAME_H

#include <stdio.h>

#include "cli/render/style.h"
#include "common/base/error.h"

/* A character and a mark or two; further marks are left out. */
enum { FRAME_SIDE_MAX = 1024, FRAME_GLYPH_BYTES = 14 };

struct frame_cell {
    char glyph[FRAME_GLYPH_BYTES]; /* UTF-8, terminated; "" reads as a blank */
    unsigned char color;           /* enum style_color */
    bool is_half;                  /* the right half of the wide character before; glyph is "" */
};

struct frame {
    size_t width, height;
    struct frame_cell *cells; /* owned: [height, width] */
    bool unicode;
};

/* A blank page, each side at most FRAME_SIDE_MAX (cut to it). ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err frame_init(struct frame *frame, size_t width, size_t height, bool unicode);
void frame_fini(struct frame *frame);

/* Writes into at most `room` columns; text that is longer ends in "+". Returns the columns used. */
size_t frame_text(struct frame *frame, size_t row, size_t column, size_t room,
                  enum style_color color, const char *format, ...) PRINTF(6, 7);

/* One character at one place, one column wide. */
void frame_glyph(struct frame *frame, size_t row, size_t column, enum style_color color,
                 const char *glyph);

/* Every line, without the blanks at its end. */
void frame_print(const struct frame *frame, const struct style *style, FILE *out);

#endif
