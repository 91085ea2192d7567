/* task_sums.c - names on both sides of an array. */
#include "worker/task/task_sums.h"

void task_sums_leaf(const struct train_result *row, bool is_pair, double sums[FOLD_SUMS])
{
    sums[FOLD_LOSS] = row->loss_sum;
    sums[FOLD_WEIGHT] = row->weight;
    sums[FOLD_PAIRS] = is_pair;
    sums[FOLD_REWARD_CHOSEN] = row->rewards[PREFERENCE_CHOSEN];
    sums[FOLD_REWARD_REJECTED] = row->rewards[PREFERENCE_REJECTED];
    sums[FOLD_CORRECT] = row->is_correct;
}

void task_sums_report(const double sums[FOLD_SUMS], struct task_result *result)
{
    result->loss_sum = sums[FOLD_LOSS];
    result->weight = sums[FOLD_WEIGHT];
    result->preference = (struct preference_sums){
        .pairs = sums[FOLD_PAIRS],
        .reward_chosen = sums[FOLD_REWARD_CHOSEN],
        .reward_rejected = sums[FOLD_REWARD_REJECTED],
        .correct = sums[FOLD_CORRECT],
    };
}
