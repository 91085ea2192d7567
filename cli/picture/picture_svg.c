/* picture_svg.c - shapes as elements, in their order. */
#include "cli/picture/picture.h"

#include <stdlib.h>

static void put_text(struct bytes *out, struct text text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '&' || c == '<' || c == '>')
            bytes_print(out, "&#%u;", (unsigned)c);
        else
            bytes_print(out, "%c", c < ' ' ? '?' : c); /* no control character is allowed */
    }
}

static void put_rect(struct bytes *out, const struct picture_shape *s)
{
    bytes_print(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#%06x\"", s->x,
                s->y, s->width, s->height, (unsigned)s->color);
    if (s->text.size == 0) {
        bytes_print(out, "/>\n");
        return;
    }
    bytes_print(out, "><title>");
    put_text(out, s->text);
    bytes_print(out, "</title></rect>\n");
}

static void put_words(struct bytes *out, const struct picture_shape *s)
{
    static const char *const anchors[] = {
        [PICTURE_LEFT] = "start", [PICTURE_MIDDLE] = "middle", [PICTURE_RIGHT] = "end"};
    /* Cells lie below their words: the pointer is to meet the cell. */
    bytes_print(out,
                "<text x=\"%d\" y=\"%d\" font-size=\"%d\" text-anchor=\"%s\" fill=\"#%06x\" "
                "pointer-events=\"none\">",
                s->x, s->y, (int)s->size, anchors[s->anchor], (unsigned)s->color);
    put_text(out, s->text);
    bytes_print(out, "</text>\n");
}

static void put_tenths(struct bytes *out, int value)
{
    bytes_print(out, "%s%d.%d", value < 0 ? "-" : "", abs(value) / 10, abs(value) % 10);
}

static void put_line(struct bytes *out, const struct picture_shape *s)
{
    bytes_print(out, "<polyline fill=\"none\" stroke=\"#%06x\" stroke-width=\"",
                (unsigned)s->color);
    put_tenths(out, s->thickness);
    bytes_print(out, "\" stroke-linecap=\"round\" stroke-linejoin=\"round\" points=\"");
    for (size_t i = 0; i < s->point_count; i++) {
        if (i > 0)
            bytes_print(out, " ");
        put_tenths(out, s->points[i].x);
        bytes_print(out, ",");
        put_tenths(out, s->points[i].y);
    }
    bytes_print(out, "\"/>\n");
}

enum err picture_write_svg(const struct picture *picture, struct bytes *out)
{
    TRY(picture->err);
    bytes_print(out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                "viewBox=\"0 0 %d %d\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, "
                "monospace\">\n",
                picture->width, picture->height, picture->width, picture->height);
    bytes_print(out, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", picture->width,
                picture->height);
    for (size_t i = 0; i < picture->count; i++) {
        const struct picture_shape *s = &picture->shapes[i];
        if (s->points != NULL)
            put_line(out, s);
        else if (s->height > 0)
            put_rect(out, s);
        else
            put_words(out, s);
    }
    bytes_print(out, "</svg>\n");
    return bytes_status(out);
}
