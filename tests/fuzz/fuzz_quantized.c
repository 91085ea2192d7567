/* fuzz_quantized.c - layers of quantized folders: quantization_config, then tensors.
 *
 *   | u8 rows | u8 columns | u16 little-endian: bytes of the config | config | safetensors file |
 */
#include "tests/fuzz/fuzz.h"

#include "common/base/check.h"
#include "common/formats/bitsandbytes/bnb_linear.h"
#include "common/formats/compressed_tensors/compressed_config.h"
#include "common/formats/compressed_tensors/compressed_linear.h"
#include "common/formats/json/json_read.h"

enum { FRONT_BYTES = 4, SIDE_MAX = 256 };

static void read_rows(const struct compressed_linear_view *view)
{
    int8_t codes[SIDE_MAX], zeros[SIDE_MAX];
    float scales[SIDE_MAX];
    for (uint64_t row = 0; row < view->linear.rows; row++) {
        compressed_linear_codes(view, row, codes);
        compressed_linear_cells(view, row, scales, zeros);
        int half = 1 << (view->linear.scheme.bits - 1);
        bool packed = view->linear.scheme.layout == QUANT_SCHEME_PACKED;
        for (size_t i = 0; i < view->linear.columns; i++)
            ASSERT(!packed || (codes[i] >= -half && codes[i] < half));
        ASSERT(scales[0] > 0);
    }
}

static void read_levels(const struct bnb_linear_view *view)
{
    uint64_t count = view->linear.rows * view->linear.columns;
    double sum = 0; /* of all values: each is read */
    for (uint64_t i = 0; i < count; i++)
        sum += (double)(view->levels[bnb_linear_code(view, i)] *
                        bnb_linear_absmax(view, i / view->linear.block_size));
    ASSERT(count > 0 || !(sum > 0));
}

/* The group of layer "m"; false when the config has none. */
static bool read_scheme(struct span text, struct quant_scheme *scheme)
{
    const struct json_read_options options = {.name = "config.json"};
    struct json_doc *doc = NULL;
    struct compressed_config config;
    const struct compressed_config_group *group = NULL;
    struct arena arena;
    struct err_text et;
    if (json_read_parse(text, &options, &doc, &et) != ERR_OK)
        return false;
    arena_init(&arena, 1 << 20);
    if (compressed_config_read(json_read_root(doc), &arena, &config, &et) == ERR_OK &&
        compressed_config_find(&config, "m", &group, &et) == ERR_OK && group != NULL)
        *scheme = group->scheme;
    arena_fini(&arena);
    json_read_close(&doc);
    return group != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct compressed_linear_view view;
    struct bnb_linear_view levels;
    struct quant_scheme scheme;
    struct safetensors files;
    struct err_text et;
    if (size < FRONT_BYTES)
        return 0;
    uint64_t rows = data[0], columns = data[1];
    size_t config = (size_t)data[2] | (size_t)data[3] << 8;
    if (config > size - FRONT_BYTES)
        return 0;
    struct span text = {data + FRONT_BYTES, config};
    struct span content = {text.data + config, size - FRONT_BYTES - config};
    bool known = read_scheme(text, &scheme);
    if (safetensors_parse(&files, content, "model.safetensors", &et) != ERR_OK)
        return 0;
    if (known && compressed_linear_find(&files, "m", &scheme, rows, columns, &view, &et) == ERR_OK)
        read_rows(&view);
    if (bnb_linear_find(&files, "m", rows, columns, &levels, &et) == ERR_OK)
        read_levels(&levels);
    safetensors_close(&files);
    return 0;
}
