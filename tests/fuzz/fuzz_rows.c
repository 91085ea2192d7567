/* fuzz_rows.c - a rows blob that opens can be read from end to end. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/samples.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rows rows;
    struct samples samples;
    struct err_text et;
    uint8_t *copy =
        mem_alloc_aligned(size, 1); /* blobs are aligned; a fuzzer's input need not be */
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    struct span blob = {copy, size};
    uint64_t sum = 0;
    if (rows_open(blob, &rows, &et) == ERR_OK)
        for (uint64_t i = 0; i < rows.row_count; i++) {
            struct row row = rows_at(&rows, i);
            ASSERT(row.count <= rows.row_tokens_max && row.segment_count > 0);
            for (size_t t = 0; t < row.count; t++)
                sum += row.tokens[t];
            ASSERT(row.segment_starts[row.segment_count - 1] < row.count);
        }
    if (samples_open(blob, &samples, &et) == ERR_OK)
        sum += samples.offsets[samples.count];
    mem_free(copy);
    return sum == UINT64_MAX;
}
