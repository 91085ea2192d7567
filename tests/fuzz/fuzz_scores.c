/* fuzz_scores.c - a scores blob that opens holds numbers that can be folded. */
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/engine/compare/scores.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct scores scores;
    struct compare_sums sums;
    struct err_text et;
    uint8_t *copy =
        mem_alloc_aligned(size, 1); /* blobs are aligned; a fuzzer's input need not be */
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    if (scores_open((struct span){copy, size}, "scores", &scores, &et) == ERR_OK &&
        scores_fold(&scores, 1, &sums, &et) == ERR_OK)
        ASSERT(scores.count == scores.total && sums.agreements <= sums.positions && sums.kl >= 0);
    mem_free(copy);
    return 0;
}
