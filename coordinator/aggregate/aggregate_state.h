/* aggregate_state.h - the flat vectors of a training state and their file. For this folder. */
#ifndef COORDINATOR_AGGREGATE_AGGREGATE_STATE_H
#define COORDINATOR_AGGREGATE_AGGREGATE_STATE_H

#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "coordinator/aggregate/aggregate.h"

/* A tensor of the flat vectors. */
struct aggregate_parameter {
    struct text name; /* without "weight."; in the arena */
    uint32_t rank;
    uint64_t shape[SAFETENSORS_RANK_MAX];
    size_t begin, count; /* elements of the flat vectors */
};

struct aggregate {
    struct aggregate_settings settings;
    struct arena arena;                     /* owned: names, parameters */
    struct aggregate_parameter *parameters; /* ascending byte order of names */
    size_t parameter_count;
    size_t width;
    uint64_t step;
    float *weights, *exp_avg, *exp_avg_sq; /* owned: (width) each */
    struct bytes ledger;                   /* owned */
};

#endif
