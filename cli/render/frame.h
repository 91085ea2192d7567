/* frame.h - a page of characters in colours, put together before anything is shown of it: printed
 * once, or laid onto the screen again and again.
 *
 * A cell has one character that takes one column. What would take two or none, or steer a terminal,
 * becomes "?", as does everything beyond ASCII where the page is to have none; what lies beyond the
 * page is cut.
 * Refuses to know: terminals.
 */
#ifndef CLI_RENDER_FRAME_H
#define CLI_RENDER_FRAME_H

#include <stdio.h>

#include "cli/render/style.h"
#include "common/base/error.h"

enum { FRAME_SIDE_MAX = 1024, FRAME_GLYPH_BYTES = 5 };

struct frame_cell {
    char glyph[FRAME_GLYPH_BYTES]; /* UTF-8, terminated; "" reads as a blank */
    unsigned char color;           /* enum style_color */
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

/* One character at one place. */
void frame_glyph(struct frame *frame, size_t row, size_t column, enum style_color color,
                 const char *glyph);

/* Every line, without the blanks at its end. */
void frame_print(const struct frame *frame, const struct style *style, FILE *out);

#endif
