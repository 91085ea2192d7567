/* run_metric.c - the table. */
#include "cli/plot/run_metric.h"

#include <math.h>
#include <string.h>

#include "cli/plot/pace.h"
#include "common/base/check.h"
#include "common/numeric/scalar.h"

static double loss(const struct log_point *point, const struct log_point *before UNUSED)
{
    return point->loss;
}

static double perplexity(const struct log_point *point, const struct log_point *before UNUSED)
{
    return point->pairs > 0 ? (double)NAN : scalar_exp(point->loss);
}

static double learning_rate(const struct log_point *point, const struct log_point *before UNUSED)
{
    return point->learning_rate;
}

static double grad_norm(const struct log_point *point, const struct log_point *before UNUSED)
{
    return point->grad_norm;
}

static double epoch(const struct log_point *point, const struct log_point *before UNUSED)
{
    return point->epoch;
}

static double tokens_per_second(const struct log_point *point, const struct log_point *before)
{
    return pace_between(before, point);
}

static double of_pairs(const struct log_point *point, double value)
{
    return point->pairs > 0 ? value : (double)NAN;
}

static double chosen(const struct log_point *point, const struct log_point *before UNUSED)
{
    return of_pairs(point, point->reward_chosen);
}

static double rejected(const struct log_point *point, const struct log_point *before UNUSED)
{
    return of_pairs(point, point->reward_rejected);
}

static double margin(const struct log_point *point, const struct log_point *before UNUSED)
{
    return of_pairs(point, point->reward_chosen - point->reward_rejected);
}

static double accuracy(const struct log_point *point, const struct log_point *before UNUSED)
{
    return of_pairs(point, point->accuracy);
}

static const struct run_metric metrics[] = {
    {"loss", "train", "train/loss", false, loss},
    {"loss", "eval", "eval/loss", true, loss},
    {"perplexity", "", "eval/perplexity", true, perplexity},
    {"lr", "", "train/learning_rate", false, learning_rate},
    {"grad_norm", "", "train/grad_norm", false, grad_norm},
    {"tokens_per_second", "", "train/tokens_per_second", false, tokens_per_second},
    {"epoch", "", "train/epoch", false, epoch},
    {"rewards", "chosen", "train/rewards/chosen", false, chosen},
    {"rewards", "rejected", "train/rewards/rejected", false, rejected},
    {"rewards", "eval chosen", "eval/rewards/chosen", true, chosen},
    {"rewards", "eval rejected", "eval/rewards/rejected", true, rejected},
    {"margins", "train", "train/rewards/margins", false, margin},
    {"margins", "eval", "eval/rewards/margins", true, margin},
    {"accuracies", "train", "train/rewards/accuracies", false, accuracy},
    {"accuracies", "eval", "eval/rewards/accuracies", true, accuracy},
};

const struct run_metric *run_metric_at(size_t index)
{
    return index < COUNT_OF(metrics) ? &metrics[index] : NULL;
}

static const struct {
    const char *word, *title;
} titles[] = {
    {"loss", "loss"},
    {"perplexity", "perplexity of held-out data"},
    {"lr", "learning rate"},
    {"grad_norm", "norm of the gradient before clipping"},
    {"tokens_per_second", "tokens a second"},
    {"epoch", "passes over the data"},
    {"rewards", "rewards of chosen and rejected answers"},
    {"margins", "reward of the chosen answer above the rejected one"},
    {"accuracies", "share of pairs in the right order"},
};

const char *run_metric_title(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(titles); i++) {
        if (strcmp(titles[i].word, word) == 0)
            return titles[i].title;
    }
    return NULL;
}

const char *run_metric_words(void)
{
    return "loss, perplexity, lr, grad_norm, tokens_per_second, epoch, rewards, margins, "
           "accuracies";
}
