/* test_picture.c - the bytes of small pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/picture/picture.h"

enum { FILE_BYTES_MAX = 1 << 24 };

/* A box, one that hangs over the edge, a word with a sign that SVG escapes. */
static void draw_sample(struct picture *picture)
{
    picture_init(picture, 24, 12);
    picture_rect(picture, 2, 2, 20, 8, 0xd94f38, "a < b");
    picture_rect(picture, 20, -3, 50, 6, 0x0969da, NULL);
    picture_rect(picture, 24, 0, 5, 5, 0x000000, "beyond the page");
    picture_text(picture, 12, 10, PICTURE_WORD, PICTURE_MIDDLE, PICTURE_INK, "Q%d&", 4);
}

static void test_picture__svg_lists_shapes_in_their_order(void **state)
{
    (void)state;
    static const char expected[] =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"24\" height=\"12\" "
        "viewBox=\"0 0 24 12\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\">\n"
        "<rect width=\"24\" height=\"12\" fill=\"#ffffff\"/>\n"
        "<rect x=\"2\" y=\"2\" width=\"20\" height=\"8\" fill=\"#d94f38\">"
        "<title>a &#60; b</title></rect>\n"
        "<rect x=\"20\" y=\"0\" width=\"4\" height=\"3\" fill=\"#0969da\"/>\n"
        "<text x=\"12\" y=\"10\" font-size=\"11\" text-anchor=\"middle\" fill=\"#1f2328\" "
        "pointer-events=\"none\">Q4&#38;</text>\n"
        "</svg>\n";
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    draw_sample(&picture);
    assert_int_equal(picture_write_svg(&picture, &out), ERR_OK);
    assert_int_equal(out.size, strlen(expected));
    assert_memory_equal(out.data, expected, out.size);
    picture_fini(&picture);
    bytes_fini(&out);
}

/* Written once, its checksums and rows read with zlib: the word is there, each dot twice as wide.
 */
static const uint8_t png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52,
    0x00, 0x00, 0x00, 0x30, 0x00, 0x00, 0x00, 0x18, 0x08, 0x03, 0x00, 0x00, 0x00, 0x8b, 0x23, 0x8e,
    0xee, 0x00, 0x00, 0x00, 0x0c, 0x50, 0x4c, 0x54, 0x45, 0xff, 0xff, 0xff, 0xd9, 0x4f, 0x38, 0x09,
    0x69, 0xda, 0x1f, 0x23, 0x28, 0x4d, 0xbb, 0xe8, 0x84, 0x00, 0x00, 0x00, 0xe6, 0x49, 0x44, 0x41,
    0x54, 0x78, 0x01, 0x63, 0x62, 0x20, 0x12, 0x30, 0xc1, 0x00, 0x03, 0x89, 0x80, 0x89, 0x81, 0x44,
    0xc0, 0xc4, 0x40, 0x22, 0x60, 0x62, 0x00, 0x02, 0x46, 0x22, 0x00, 0x03, 0x14, 0x30, 0x31, 0x90,
    0x08, 0x98, 0x18, 0x60, 0x80, 0x09, 0x0c, 0x18, 0xe0, 0x80, 0x89, 0x89, 0x01, 0x08, 0x98, 0x60,
    0x80, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x80, 0x80, 0x89, 0x81, 0x44, 0xc0, 0xc4, 0x00, 0x01, 0x4c,
    0x4c, 0xff, 0xc0, 0x80, 0x89, 0x89, 0x01, 0x0c, 0x98, 0x98, 0x18, 0xa0, 0xe0, 0x1f, 0x18, 0x30,
    0xc0, 0x00, 0x13, 0x03, 0x89, 0x80, 0x89, 0x01, 0x1b, 0x60, 0x62, 0xfa, 0xf7, 0x8f, 0x01, 0x3b,
    0x60, 0x62, 0x20, 0x11, 0x30, 0x31, 0x60, 0x02, 0x26, 0xa6, 0x7f, 0xff, 0x18, 0x70, 0x01, 0x26,
    0x06, 0x12, 0x01, 0x13, 0x03, 0x02, 0x30, 0x31, 0x31, 0x40, 0x01, 0x13, 0x10, 0x30, 0x30, 0x30,
    0x31, 0x31, 0x60, 0x02, 0x26, 0x06, 0x12, 0x01, 0x13, 0x03, 0x02, 0xfc, 0xfb, 0xc7, 0xc4, 0xf4,
    0xef, 0x1f, 0x03, 0xc3, 0x3f, 0x30, 0x60, 0x60, 0xf8, 0xf7, 0x8f, 0x01, 0x13, 0x30, 0x31, 0x90,
    0x08, 0x98, 0x18, 0x20, 0xe0, 0xdf, 0x3f, 0x26, 0x20, 0xf8, 0xf7, 0x8f, 0x89, 0x89, 0x01, 0x0d,
    0x30, 0x81, 0x01, 0x03, 0x0c, 0x30, 0x31, 0x90, 0x08, 0x98, 0x18, 0x80, 0xe0, 0x3f, 0x08, 0xfc,
    0x05, 0x82, 0xff, 0xff, 0xff, 0xfe, 0xfd, 0x0f, 0x05, 0x7f, 0xff, 0xfe, 0x07, 0x82, 0xbf, 0x70,
    0xf0, 0xff, 0xff, 0x7f, 0x06, 0x20, 0x60, 0x62, 0x20, 0x11, 0x30, 0x31, 0x90, 0x08, 0x98, 0x18,
    0x48, 0x04, 0x00, 0x06, 0xca, 0x4f, 0x31, 0x47, 0x6a, 0xa7, 0x7d, 0x00, 0x00, 0x00, 0x00, 0x49,
    0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};

static void test_picture__png_is_a_palette_image_of_twice_the_size(void **state)
{
    (void)state;
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    draw_sample(&picture);
    assert_int_equal(picture_write_png(&picture, &out), ERR_OK);
    assert_int_equal(out.size, sizeof png);
    assert_memory_equal(out.data, png, sizeof png);
    picture_fini(&picture);
    bytes_fini(&out);
}

static void test_picture__flat_areas_take_next_to_no_room(void **state)
{
    (void)state;
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    picture_init(&picture, 2000, 1000);
    picture_rect(&picture, 100, 100, 1800, 800, 0xd94f38, NULL);
    assert_int_equal(picture_write_png(&picture, &out), ERR_OK);
    assert_in_range(out.size, 1000, 80000); /* of 8 million dots */
    picture_fini(&picture);
    bytes_fini(&out);
}

static void test_picture__a_line_has_soft_edges_and_stays_on_the_page(void **state)
{
    (void)state;
    static const struct picture_point points[] = {{-50, -50}, {100, 45}, {1000, 20}};
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    picture_init(&picture, 20, 10);
    picture_line(&picture, points, 3, 20, 0x000000);
    assert_int_equal(picture_write_png(&picture, &out), ERR_OK);
    static const uint8_t palette[] = {0, 0, 0,    15,   'P',  'L',  'T',  'E',  0xff, 0xff, 0xff, 0,
                                      0, 0, 0xc0, 0xc0, 0xc0, 0x80, 0x80, 0x80, 0x40, 0x40, 0x40};
    assert_memory_equal(out.data + 33, palette, sizeof palette);
    bytes_clear(&out);
    assert_int_equal(picture_write_svg(&picture, &out), ERR_OK);
    bytes_append(&out, "", 1);
    assert_non_null(strstr((const char *)out.data,
                           "<polyline fill=\"none\" stroke=\"#000000\" stroke-width=\"2.0\" "
                           "stroke-linecap=\"round\" stroke-linejoin=\"round\" "
                           "points=\"-5.0,-5.0 10.0,4.5 100.0,2.0\"/>"));
    picture_fini(&picture);
    bytes_fini(&out);
}

static void test_picture__more_colours_than_a_palette_are_refused(void **state)
{
    (void)state;
    struct picture picture;
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    picture_init(&picture, 300, 1);
    for (int i = 0; i < PICTURE_COLORS_MAX; i++)
        picture_rect(&picture, i, 0, 1, 1, (uint32_t)i, NULL);
    assert_int_equal(picture_write_png(&picture, &out), ERR_LIMIT);
    assert_int_equal(out.size, 0);
    assert_int_equal(picture_write_svg(&picture, &out), ERR_OK);
    picture_fini(&picture);
    bytes_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_picture__svg_lists_shapes_in_their_order),
        cmocka_unit_test(test_picture__png_is_a_palette_image_of_twice_the_size),
        cmocka_unit_test(test_picture__flat_areas_take_next_to_no_room),
        cmocka_unit_test(test_picture__a_line_has_soft_edges_and_stays_on_the_page),
        cmocka_unit_test(test_picture__more_colours_than_a_palette_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
