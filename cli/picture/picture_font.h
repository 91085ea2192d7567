/* picture_font.h - letters of 5 by 9 dots; for this folder only. */
#ifndef CLI_PICTURE_PICTURE_FONT_H
#define CLI_PICTURE_PICTURE_FONT_H

#include <stdint.h>

enum {
    PICTURE_FONT_WIDTH = 5,
    PICTURE_FONT_ADVANCE = 6,
    PICTURE_FONT_HEIGHT = 9, /* the last two rows lie below the base line */
    PICTURE_FONT_RISE = 7
};

/* Rows from the top, bit 4 is the dot on the left. A frame for what has no letter. */
const uint8_t *picture_font_glyph(unsigned char c);

#endif
