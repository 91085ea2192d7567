/* screen.c - ncurses. */
#include "cli/screen/screen.h"

#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum { ESCAPE_WAIT_MS = 50 };

struct screen {
    SCREEN *terminal;
    bool color;
    bool unicode;
};

/* A locale whose characters are UTF-8: the environment's, else the one that every system has. */
static bool set_locale(void)
{
    if (setlocale(LC_CTYPE, "") != NULL && MB_CUR_MAX > 1)
        return true;
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL && MB_CUR_MAX > 1;
}

static void init_colors(void)
{
    static const short colors[STYLE_COLOR_COUNT] = {
        [STYLE_GOOD] = COLOR_GREEN,   [STYLE_BAD] = COLOR_RED,       [STYLE_BUSY] = COLOR_CYAN,
        [STYLE_LINE_1] = COLOR_CYAN,  [STYLE_LINE_2] = COLOR_YELLOW, [STYLE_LINE_3] = COLOR_MAGENTA,
        [STYLE_LINE_4] = COLOR_GREEN, [STYLE_LINE_5] = COLOR_BLUE,   [STYLE_LINE_6] = COLOR_RED,
    };
    (void)start_color();
    (void)use_default_colors();
    for (short i = 0; i < STYLE_COLOR_COUNT; i++) {
        if (colors[i] != 0)
            (void)init_pair(i, colors[i], -1);
    }
}

enum err screen_open(const char *term, bool color, bool unicode, struct screen **out,
                     struct err_text *et)
{
    struct screen *screen = mem_alloc(1, sizeof *screen);
    if (screen == NULL)
        return ERR_OUT_OF_MEMORY;
    screen->unicode = unicode && set_locale();
    screen->terminal = newterm(term, stdout, stdin);
    if (screen->terminal == NULL) {
        mem_free(screen);
        return error_set(et, ERR_UNSUPPORTED,
                         "TERM=%s: this type of terminal is not known here; set another one, such "
                         "as TERM=xterm, or use --once",
                         term != NULL ? term : "");
    }
    (void)set_term(screen->terminal);
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_WAIT_MS);
    (void)curs_set(0);
    screen->color = color && has_colors();
    if (screen->color)
        init_colors();
    *out = screen;
    return ERR_OK;
}

void screen_close(struct screen **screen)
{
    if (*screen == NULL)
        return;
    (void)endwin();
    delscreen((*screen)->terminal);
    mem_free(*screen);
    *screen = NULL;
}

void screen_size(const struct screen *screen UNUSED, size_t *width, size_t *height)
{
    int rows, columns;
    getmaxyx(stdscr, rows, columns);
    *width = (size_t)MAX(columns, 1);
    *height = (size_t)MAX(rows, 1);
}

bool screen_is_unicode(const struct screen *screen)
{
    return screen->unicode;
}

static chtype look_of(const struct screen *screen, unsigned char color)
{
    static const chtype looks[STYLE_COLOR_COUNT] = {
        [STYLE_BAD] = A_BOLD, [STYLE_DIM] = A_DIM, [STYLE_BOLD] = A_BOLD};
    chtype look = looks[color];
    bool has_pair = color != STYLE_PLAIN && color != STYLE_DIM && color != STYLE_BOLD;
    return screen->color && has_pair ? look | (chtype)COLOR_PAIR(color) : look;
}

void screen_show(struct screen *screen, const struct frame *frame)
{
    (void)erase();
    for (size_t row = 0; row < frame->height; row++) {
        for (size_t column = 0; column < frame->width; column++) {
            const struct frame_cell *cell = &frame->cells[row * frame->width + column];
            if (cell->glyph[0] == '\0')
                continue;
            (void)attrset((int)look_of(screen, cell->color));
            (void)mvaddstr((int)row, (int)column, cell->glyph);
        }
    }
    (void)refresh();
}

int screen_key(struct screen *screen UNUSED)
{
    int key = getch();
    switch (key) {
    case ERR:
        return SCREEN_NONE;
    case KEY_UP:
        return SCREEN_UP;
    case KEY_DOWN:
        return SCREEN_DOWN;
    case KEY_RESIZE:
        return SCREEN_RESIZED;
    case KEY_ENTER:
    case '\n':
        return SCREEN_ENTER;
    default:
        return key > 0 && key < 0x80 ? key : SCREEN_NONE;
    }
}
