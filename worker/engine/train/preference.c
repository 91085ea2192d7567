/* preference.c - the formulas of preference.h without overflow. */
#include "worker/engine/train/preference.h"

#include "common/numeric/scalar.h"

/* -log s(x) = log(1 + exp(-x)) */
static double minus_log_sigmoid(double x)
{
    double tail = scalar_log1p(scalar_exp(x < 0 ? x : -x));
    return x < 0 ? tail - x : tail;
}

static double sigmoid(double x)
{
    double power = scalar_exp(x < 0 ? x : -x);
    return x < 0 ? power / (1 + power) : 1 / (1 + power);
}

/* With s(x) + s(-x) = 1 the derivative of the loss by b D is e - s(-b D). */
struct preference_cost preference_cost(const struct preference *preference,
                                       const double log_p[PREFERENCE_SIDES],
                                       const double reference[PREFERENCE_SIDES])
{
    double beta = preference->beta, smoothing = preference->label_smoothing;
    struct preference_cost cost = {.loss = 0};
    for (int side = 0; side < PREFERENCE_SIDES; side++)
        cost.rewards[side] = beta * (log_p[side] - reference[side]);
    double margin = cost.rewards[PREFERENCE_CHOSEN] - cost.rewards[PREFERENCE_REJECTED];
    cost.is_correct = cost.rewards[PREFERENCE_CHOSEN] > cost.rewards[PREFERENCE_REJECTED];
    cost.loss = (1 - smoothing) * minus_log_sigmoid(margin);
    if (smoothing > 0)
        cost.loss += smoothing * minus_log_sigmoid(-margin);
    cost.slope = beta * (sigmoid(-margin) - smoothing);
    return cost;
}
