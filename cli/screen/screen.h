/* screen.h - a terminal as a whole page with keys: the one door to ncurses.
 *
 * The locale of characters is set for the process while a screen is open, since ncurses asks it how
 * to write them. Signals are the caller's: what is pressed comes as keys, but for those that the
 * terminal turns into signals.
 * Refuses to know: what is shown, clocks.
 */
#ifndef CLI_SCREEN_SCREEN_H
#define CLI_SCREEN_SCREEN_H

#include "cli/render/frame.h"

struct screen;

/* Beside these a key is its character. */
enum screen_key {
    SCREEN_NONE = 0,
    SCREEN_ENTER = '\r',
    SCREEN_ESCAPE = 27,
    SCREEN_UP = 0x110000, /* beyond all characters */
    SCREEN_DOWN,
    SCREEN_RESIZED
};

/* Takes over stdin and stdout, which are terminals. `term` names the type of terminal; `color` and
 * `unicode` say what it may be sent. ERR_UNSUPPORTED when the type is not known, with what to do;
 * ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err screen_open(const char *term, bool color, bool unicode, struct screen **out,
                                struct err_text *et);

/* Gives the terminal back as it was. NULL is allowed. */
void screen_close(struct screen **screen);

void screen_size(const struct screen *screen, size_t *width, size_t *height);

/* Whether characters beyond ASCII come out right. */
bool screen_is_unicode(const struct screen *screen);

/* Shows the page from the upper left corner on; what differs from before is sent. */
void screen_show(struct screen *screen, const struct frame *frame);

/* What was pressed and not yet asked for; SCREEN_NONE: nothing. Does not wait. */
int screen_key(struct screen *screen);

#endif
