/* quant_scheme.c - presets by name, shapes of scales. */
#include "common/formats/compressed_tensors/quant_scheme.h"

#include <ctype.h>

#include "common/base/check.h"
#include "schemas/quant_scheme.def"

struct preset {
    const char *name;
    struct quant_scheme scheme;
};

/* Columns of the table that are numbers there. */
#define INPUT_0 QUANT_SCHEME_INPUT_PLAIN
#define INPUT_8 QUANT_SCHEME_INPUT_TOKEN

static const struct preset presets[] = {
#define PRESET(id, bits_, symmetric_, strategy_, group_size_, input_bits, layout_)                 \
    {#id,                                                                                          \
     {.bits = bits_,                                                                               \
      .symmetric = symmetric_,                                                                     \
      .strategy = QUANT_SCHEME_##strategy_,                                                        \
      .group_size = group_size_,                                                                   \
      .layout = QUANT_SCHEME_##layout_,                                                            \
      .input = INPUT_##input_bits}},
    QUANT_SCHEME_ROWS(PRESET)
#undef PRESET
};

static bool names(struct text given, const char *name)
{
    size_t size = strlen(name);
    if (given.size != size)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (toupper((unsigned char)given.data[i]) != name[i])
            return false;
    }
    return true;
}

bool quant_scheme_named(struct text name, struct quant_scheme *out)
{
    for (size_t i = 0; i < COUNT_OF(presets); i++) {
        bool alias = strcmp(presets[i].name, "W8A8") == 0 && names(name, "INT8");
        if (alias || names(name, presets[i].name)) {
            *out = presets[i].scheme;
            return true;
        }
    }
    return false;
}

const char *quant_scheme_name(size_t index)
{
    return index < COUNT_OF(presets) ? presets[index].name : NULL;
}

const char *quant_scheme_layout_name(enum quant_scheme_layout layout)
{
    return layout == QUANT_SCHEME_INT ? "int-quantized" : "pack-quantized";
}

bool quant_scheme_cells(const struct quant_scheme *scheme, uint64_t rows, uint64_t columns,
                        uint64_t *down, uint64_t *across)
{
    bool grouped = scheme->strategy == QUANT_SCHEME_GROUP || scheme->strategy == QUANT_SCHEME_BLOCK;
    uint64_t width = grouped ? scheme->group_size : columns;
    uint64_t height = scheme->strategy == QUANT_SCHEME_TENSOR  ? rows
                      : scheme->strategy == QUANT_SCHEME_BLOCK ? scheme->block_rows
                                                               : 1;
    if (rows == 0 || columns == 0 || width == 0 || height == 0 || columns % width != 0 ||
        rows % height != 0)
        return false;
    *down = rows / height;
    *across = columns / width;
    return true;
}
