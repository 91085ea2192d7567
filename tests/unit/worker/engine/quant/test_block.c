/* test_block.c - every format on every instruction set against the oracle, bit by bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "tests/unit/worker/engine/quant/block_oracle.h"
#include "worker/engine/quant/blocks.h"

enum { BLOCKS = 400, FIRST_BLOCK_FORMAT = DTYPE_BF16 + 1 };

struct named_table {
    const char *name;
    const struct block_table *table;
};

/* The tables that this processor can run. */
static size_t tables(struct named_table out[3])
{
    size_t count = 0;
    out[count++] = (struct named_table){"portable", &block_portable};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        out[count++] = (struct named_table){"avx2", &block_avx2};
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        out[count++] = (struct named_table){"avx512", &block_avx512};
#endif
    return count;
}

static bool differs(float a, float b)
{
    return memcmp(&a, &b, sizeof a) != 0 && !(isnan(a) && isnan(b));
}

/* Random bytes; scales run through every class of f16: ordinary, subnormal, zero, infinite, NaN. */
static void draw_blocks(enum dtype dtype, uint8_t *out)
{
    static const uint16_t special[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400,
                                       0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e01};
    size_t size = dtype_block_bytes(dtype), at[2], scales = block_oracle_scales(dtype, at);
    for (size_t i = 0; i < BLOCKS * size; i++)
        out[i] = (uint8_t)random_u32(dtype, i);
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t s = 0; s < scales; s++) {
            uint32_t pick = random_u32(1000u + dtype, b * 2 + s);
            uint16_t half = (uint16_t)(0x2000 + (pick & 0x9fff));
            if (pick >> 16 < 0x4000)
                half = special[(pick >> 16) % COUNT_OF(special)];
            out[b * size + at[s]] = (uint8_t)half;
            out[b * size + at[s] + 1] = (uint8_t)(half >> 8);
        }
}

static void test_block__every_element_is_that_of_the_drawing_on_every_table(void **state)
{
    (void)state;
    struct named_table table[3];
    size_t count = tables(table);
    for (unsigned d = FIRST_BLOCK_FORMAT; d < DTYPE_COUNT; d++) {
        enum dtype dtype = (enum dtype)d;
        size_t elements = dtype_block_elements(dtype), size = dtype_block_bytes(dtype);
        uint8_t *memory = mem_alloc(BLOCKS * size + 1, 1);
        float *out = mem_alloc(BLOCKS * elements + 1, sizeof *out);
        assert_true(memory != NULL && out != NULL);
        uint8_t *blocks = memory + 1; /* no alignment is promised */
        draw_blocks(dtype, blocks);
        for (size_t t = 0; t < count; t++) {
            out[BLOCKS * elements] = 42;
            table[t].table->decode[dtype](BLOCKS, blocks, out);
            assert_true(out[BLOCKS * elements] == 42);
            for (size_t i = 0; i < BLOCKS * elements; i++) {
                float wanted =
                    (float)block_oracle_value(dtype, blocks + i / elements * size, i % elements);
                if (differs(out[i], wanted))
                    fail_msg("%s %s: element %zu of block %zu is %a, not %a", table[t].name,
                             dtype_name(dtype), i % elements, i / elements, (double)out[i],
                             (double)wanted);
            }
        }
        mem_free(memory);
        mem_free(out);
    }
}

static void test_block__decode_takes_every_type(void **state)
{
    (void)state;
    float out[DTYPE_BLOCK_ELEMENTS_MAX];
    uint8_t block[DTYPE_BLOCK_ELEMENTS_MAX * 4] = {0};
    for (unsigned d = 0; d < DTYPE_COUNT; d++) {
        size_t elements = dtype_block_elements((enum dtype)d);
        out[elements - 1] = 42;
        block_decode((enum dtype)d, elements, block, out);
        assert_true(out[elements - 1] == 0);
        assert_true(dtype_is_plain((enum dtype)d) == (block_portable.decode[d] == NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block__every_element_is_that_of_the_drawing_on_every_table),
        cmocka_unit_test(test_block__decode_takes_every_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
