/* frequency.c - one function a scaling. */
#include "worker/engine/nn/frequency.h"

#include <math.h>
#include <string.h>

#include "common/base/span.h"
#include "common/formats/hf/hf_rope.h"
#include "common/numeric/scalar.h"

static const double pi = 3.1415926535897932384626433832795;

/* The pair whose frequency turns `rotations` times over the original length. */
static double yarn_pair(const struct hf_config *c, double width, double rotations)
{
    double original = c->rope.original_max_position_embeddings;
    return width * scalar_log(original / (rotations * 2 * pi)) / (2 * scalar_log(c->rope_theta));
}

static double scale_yarn(const struct hf_config *c, double width, double pair, double frequency)
{
    double fast = c->rope.beta_fast > 0 ? c->rope.beta_fast : 32;
    double slow = c->rope.beta_slow > 0 ? c->rope.beta_slow : 1;
    double low = fmax(floor(yarn_pair(c, width, fast)), 0);
    double high = fmin(ceil(yarn_pair(c, width, slow)), width - 1);
    double ramp = (pair - low) / (high > low ? high - low : 0.001);
    ramp = fmin(fmax(ramp, 0), 1);
    return frequency / c->rope.factor * ramp + frequency * (1 - ramp);
}

/* ---- checks ---- */

enum scaling { SCALING_NONE, SCALING_LINEAR, SCALING_LLAMA3, SCALING_YARN, SCALING_LONGROPE };

static const struct {
    const char *type;
    enum scaling scaling;
} scalings[] = {
    {"", SCALING_NONE},
    {"default", SCALING_NONE},
    {"dynamic", SCALING_NONE},
    {"linear", SCALING_LINEAR},
    {"llama3", SCALING_LLAMA3},
    {"yarn", SCALING_YARN},
    {"longrope", SCALING_LONGROPE},
    {"su", SCALING_LONGROPE},
};

static enum err check_numbers(const struct hf_config_rope *rope, enum scaling scaling,
                              size_t rotary_width, struct err_text *et)
{
    bool by_length = scaling == SCALING_LLAMA3 || scaling == SCALING_YARN;
    if ((scaling == SCALING_LINEAR || by_length) && !(rope->factor > 0))
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling.factor: expected a number above 0");
    if ((by_length || scaling == SCALING_LONGROPE) && rope->original_max_position_embeddings < 2)
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling of type %s needs "
                         "original_max_position_embeddings",
                         rope->type);
    if (scaling == SCALING_LLAMA3 &&
        !(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor))
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling: llama3 needs low_freq_factor and a larger "
                         "high_freq_factor");
    if (scaling == SCALING_LONGROPE && rope->factor_count != rotary_width / 2)
        return error_set(et, ERR_FORMAT,
                         "config.json: rope_scaling: expected %zu factors in long_factor and in "
                         "short_factor, half the rotated width of a head, found %zu",
                         rotary_width / 2, rope->factor_count);
    for (size_t i = 0; scaling == SCALING_LONGROPE && i < rope->factor_count; i++) {
        if (!(rope->long_factors[i] > 0 && rope->short_factors[i] > 0))
            return error_set(et, ERR_FORMAT,
                             "config.json: rope_scaling: factor %zu: expected a number above 0", i);
    }
    return ERR_OK;
}

static enum err read_scaling(const struct hf_config *c, size_t rotary_width, enum scaling *out,
                             struct err_text *et)
{
    for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++) {
        if (strcmp(c->rope.type, scalings[i].type) != 0)
            continue;
        TRY(check_numbers(&c->rope, scalings[i].scaling, rotary_width, et));
        *out = scalings[i].scaling;
        return ERR_OK;
    }
    return error_set(et, ERR_UNSUPPORTED,
                     "config.json: rope_scaling type \"%s\"; known are linear, llama3, yarn, "
                     "longrope and dynamic",
                     c->rope.type);
}

/* ---- sets ---- */

static double scale_of(const struct hf_config *c, enum scaling scaling)
{
    const struct hf_config_rope *rope = &c->rope;
    if (scaling != SCALING_YARN && scaling != SCALING_LONGROPE)
        return 1;
    if (rope->attention_factor > 0)
        return rope->attention_factor;
    double original = rope->original_max_position_embeddings;
    double factor = rope->factor > 0 ? rope->factor : c->max_position_embeddings / original;
    if (factor <= 1)
        return 1;
    return scaling == SCALING_YARN ? 0.1 * scalar_log(factor) + 1
                                   : sqrt(1 + scalar_log(factor) / scalar_log(original));
}

static enum err add_set(struct arena *arena, size_t count, double theta, double scale,
                        struct frequency_set *set)
{
    double *frequency = arena_alloc(arena, count, sizeof *frequency);
    if (frequency == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++)
        frequency[i] = scalar_pow(theta, -2.0 * (double)i / (double)(2 * count));
    *set = (struct frequency_set){frequency, scale};
    return ERR_OK;
}

enum err frequency_read(const struct hf_config *c, size_t rotary_width, struct arena *arena,
                        struct frequency_set sets[MODEL_ROPE_COUNT], struct err_text *et)
{
    enum scaling scaling = SCALING_NONE;
    size_t count = rotary_width / 2;
    if (count == 0)
        return ERR_OK;
    TRY(read_scaling(c, rotary_width, &scaling, et));
    TRY(add_set(arena, count, c->rope_theta, scale_of(c, scaling), &sets[MODEL_ROPE_MAIN]));
    double *main = sets[MODEL_ROPE_MAIN].frequency, width = (double)rotary_width;
    for (size_t i = 0; i < count; i++) {
        if (scaling == SCALING_LINEAR)
            main[i] /= c->rope.factor;
        if (scaling == SCALING_LLAMA3)
            main[i] /= hf_rope_llama3_divisor(&c->rope, 2 * pi / main[i]);
        if (scaling == SCALING_YARN)
            main[i] = scale_yarn(c, width, (double)i, main[i]);
    }
    if (c->rope_local_theta > 0)
        TRY(add_set(arena, count, c->rope_local_theta, 1, &sets[MODEL_ROPE_LOCAL]));
    if (scaling != SCALING_LONGROPE)
        return ERR_OK;
    TRY(add_set(arena, count, c->rope_theta, sets[MODEL_ROPE_MAIN].scale, &sets[MODEL_ROPE_LONG]));
    for (size_t i = 0; i < count; i++) {
        main[i] /= c->rope.short_factors[i];
        sets[MODEL_ROPE_LONG].frequency[i] /= c->rope.long_factors[i];
    }
    return ERR_OK;
}
