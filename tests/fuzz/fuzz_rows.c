/* fuzz_rows.c - blobs of rows, samples and streams that open can be read from end to end. */
#include <string.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/dataset/samples.h"
#include "common/formats/dataset/text_stream.h"
#include "common/formats/dataset/windows.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

enum { ROWS_BYTES_MAX = 1 << 26 };

/* Under every protocol; what is cut is a rows blob. */
static void cut(struct span blob)
{
    static const enum perplexity_protocol protocols[] = {PERPLEXITY_WINDOWS, PERPLEXITY_LLAMA_CPP,
                                                         PERPLEXITY_WORDS};
    for (size_t i = 0; i < COUNT_OF(protocols); i++) {
        const struct windows_options options = {
            .protocol = protocols[i], .length = 5, .what = "text", .advice = "give more"};
        struct windows_stats stats;
        struct bytes out;
        struct rows rows;
        struct perplexity rules;
        bytes_init(&out, ROWS_BYTES_MAX);
        if (windows_cut(&blob, 1, &options, &out, &stats, NULL) == ERR_OK) {
            ASSERT(rows_open(bytes_span(&out), &rows, NULL) == ERR_OK);
            ASSERT(rows.row_count == stats.rows && rows.supervised_count == stats.scored);
            ASSERT(perplexity_of_rows(bytes_span(&out), &rules, NULL) == ERR_OK);
            ASSERT(perplexity_equal(&rules, &stats.perplexity));
        }
        bytes_fini(&out);
    }
}

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
    struct text_stream stream;
    struct perplexity rules;
    if (text_stream_open(blob, &stream, &et) == ERR_OK) {
        sum += stream.offsets[stream.document_count];
        cut(blob);
    }
    if (perplexity_of_rows(blob, &rules, &et) == ERR_OK)
        ASSERT(rules.protocol < PERPLEXITY_PROTOCOL_COUNT);
    if (samples_open(blob, &samples, &et) == ERR_OK)
        sum += samples.offsets[samples.count];
    mem_free(copy);
    return sum == UINT64_MAX;
}
