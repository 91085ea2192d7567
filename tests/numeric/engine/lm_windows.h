/* lm_windows.h - the windows of text on which figures of the data folder's lm-6m were taken: 24 of
 * 256 ids, BOS and 255 consecutive ids of the last 40,000 characters of the TinyStories text.
 */
#ifndef TESTS_NUMERIC_ENGINE_LM_WINDOWS_H
#define TESTS_NUMERIC_ENGINE_LM_WINDOWS_H

#include <stdint.h>

#include "worker/engine/nn/batch.h"

enum { LM_WINDOWS = 24, LM_WINDOW = 256 };

struct lm_windows {
    uint32_t ids[LM_WINDOWS][LM_WINDOW];
    uint8_t loss[LM_WINDOW];
    uint32_t start;
    struct batch_input rows[LM_WINDOWS];
};

/* By our own tokenizer; NULL, and a line that says so, without the data folder. Released with
 * mem_free. */
struct lm_windows *lm_windows_open(void);

#endif
