/* picture.c - the list of shapes. */
#include "cli/picture/picture.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"

enum { ARENA_BYTES_MAX = 64 << 20, SHAPES_FIRST = 256, TEXT_BYTES = 512 };

void picture_init(struct picture *picture, int width, int height)
{
    ASSERT(width > 0 && width <= PICTURE_SIDE_MAX && height > 0 && height <= PICTURE_SIDE_MAX);
    *picture = (struct picture){.width = width, .height = height};
    arena_init(&picture->arena, ARENA_BYTES_MAX);
}

void picture_fini(struct picture *picture)
{
    arena_fini(&picture->arena);
    *picture = (struct picture){0};
}

static void add(struct picture *picture, struct picture_shape shape)
{
    if (picture->err == ERR_OK && picture->count == picture->capacity) {
        size_t capacity = MAX(2 * picture->capacity, (size_t)SHAPES_FIRST);
        struct picture_shape *shapes = arena_alloc(&picture->arena, capacity, sizeof *shapes);
        if (shapes != NULL && picture->count > 0)
            memcpy(shapes, picture->shapes, picture->count * sizeof *shapes);
        picture->err = shapes != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
        picture->shapes = shapes;
        picture->capacity = capacity;
    }
    if (picture->err == ERR_OK && shape.text.size > 0) {
        shape.text.data = arena_copy_text(&picture->arena, shape.text);
        picture->err = shape.text.data != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    if (picture->err == ERR_OK)
        picture->shapes[picture->count++] = shape;
}

void picture_rect(struct picture *picture, int x, int y, int width, int height, uint32_t color,
                  const char *title)
{
    int right = MIN(x + width, picture->width), bottom = MIN(y + height, picture->height);
    x = MAX(x, 0);
    y = MAX(y, 0);
    if (right <= x || bottom <= y)
        return;
    add(picture, (struct picture_shape){.x = x,
                                        .y = y,
                                        .width = right - x,
                                        .height = bottom - y,
                                        .color = color,
                                        .text = text_of(title != NULL ? title : "")});
}

void picture_text(struct picture *picture, int x, int y, enum picture_size size,
                  enum picture_anchor anchor, uint32_t color, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (text[0] != '\0')
        add(picture, (struct picture_shape){.x = x,
                                            .y = y,
                                            .color = color,
                                            .text = text_of(text),
                                            .anchor = anchor,
                                            .size = size});
}

void picture_line(struct picture *picture, const struct picture_point *points, size_t count,
                  int thickness, uint32_t color)
{
    struct picture_point *copy = arena_alloc(&picture->arena, count, sizeof *copy);
    if (copy == NULL && picture->err == ERR_OK)
        picture->err = ERR_OUT_OF_MEMORY;
    if (picture->err != ERR_OK)
        return;
    memcpy(copy, points, count * sizeof *copy);
    add(picture, (struct picture_shape){
                     .color = color, .points = copy, .point_count = count, .thickness = thickness});
}
