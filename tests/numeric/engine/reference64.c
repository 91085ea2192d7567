/* reference64.c - see the header. */
#include "tests/numeric/engine/reference64.h"

#include <math.h>
#include <string.h>

#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/tensor/dtype.h"

struct reference64 {
    const struct model *model;
    const struct binding *binding;
    double **weights; /* (parameters) from the model */
    double *x, *normed, *q, *k, *v, *heads, *gate, *up, *extra, *kept, *scores, *added;
    double *plain;       /* a token's output before its magnitude */
    double *norms;       /* (norm_count) */
    const float *anchor; /* borrowed; or NULL */
    /* of the row at hand */
    const double *values;
    const struct train_row *row; /* with the places of prompts, whose tokens are PROMPT */
    uint64_t seed, round;
    uint32_t *tokens, *starts;
    uint8_t *loss;
};

#define PROMPT UINT32_MAX

static double *doubles(size_t count)
{
    return mem_alloc(count, sizeof(double));
}

struct reference64 *reference64_create(const struct model *model, const struct train_layout *layout,
                                       size_t tokens_max)
{
    const struct model_shape *s = model_shape(model);
    struct reference64 *r = mem_alloc(1, sizeof *r);
    size_t widest = s->width + s->mlp_width + s->heads * s->head_width + s->vocabulary;
    r->model = model;
    r->binding = train_layout_binding(layout);
    r->weights = mem_alloc(model_param_count(model), sizeof *r->weights);
    for (size_t i = 0; i < model_param_count(model); i++) {
        const struct model_param *p = model_param(model, i);
        float *decoded = mem_alloc(p->rows * p->columns, sizeof *decoded);
        r->weights[i] = doubles(p->rows * p->columns);
        dtype_decode(p->dtype, p->rows * p->columns, p->data, decoded);
        for (size_t j = 0; j < p->rows * p->columns; j++)
            r->weights[i][j] = (double)decoded[j];
        mem_free(decoded);
    }
    double **buffers[] = {&r->x,  &r->normed, &r->q,    &r->k,      &r->v,     &r->heads, &r->gate,
                          &r->up, &r->extra,  &r->kept, &r->scores, &r->added, &r->plain};
    tokens_max *= r->binding->prompt_count + 1;
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        *buffers[i] = doubles(tokens_max * widest);
    r->norms = doubles(r->binding->norm_count);
    r->tokens = mem_alloc(tokens_max, sizeof *r->tokens);
    r->starts = mem_alloc(tokens_max, sizeof *r->starts);
    r->loss = mem_alloc(tokens_max, 1);
    return r;
}

void reference64_destroy(struct reference64 **reference)
{
    struct reference64 *r = *reference;
    for (size_t i = 0; i < model_param_count(r->model); i++)
        mem_free(r->weights[i]);
    double *buffers[] = {r->x,  r->normed, r->q,    r->k,      r->v,     r->heads, r->gate,
                         r->up, r->extra,  r->kept, r->scores, r->added, r->plain};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        mem_free(buffers[i]);
    mem_free(r->norms);
    mem_free(r->tokens);
    mem_free(r->starts);
    mem_free(r->loss);
    mem_free(r->weights);
    mem_free(r);
    *reference = NULL;
}

static size_t param_of(const struct reference64 *r, enum model_role role, size_t layer)
{
    return (size_t)model_param_index(r->model, role, layer);
}

static const double *weight_of(const struct reference64 *r, size_t param)
{
    size_t offset = r->binding->slots[param].weight_offset;
    return offset != BINDING_NONE ? r->values + offset : r->weights[param];
}

/* r->kept = the adapter's input at a token. */
static void keep_input(struct reference64 *r, size_t param, size_t t, const double *x)
{
    const struct model_param *p = model_param(r->model, param);
    double drop = (double)r->binding->slots[param].adapter.dropout;
    uint64_t name = random_name(text_of(p->name));
    uint64_t key = random_key(r->seed, RANDOM_DROPOUT, name, p->layer, r->round);
    for (size_t c = 0; c < p->columns; c++) {
        r->kept[c] = x[c] / (1 - drop);
        if (drop > 0 &&
            (double)random_dropout(key, r->row->index << 32 | t, (uint32_t)c) < drop * 4294967296.0)
            r->kept[c] = 0;
    }
}

/* What element i of the vector is beyond its anchor, of products of two: A at `a`, B at `b`. */
static double product_of(const struct reference64 *r, size_t a, size_t b)
{
    double product = r->values[a] * r->values[b];
    return r->anchor != NULL ? product - (double)r->anchor[a] * (double)r->anchor[b] : product;
}

static void add_adapter(struct reference64 *r, size_t param, size_t t, const double *x, double *y)
{
    const struct model_param *p = model_param(r->model, param);
    const struct binding_adapter *a = &r->binding->slots[param].adapter;
    if (a->rank != 0)
        keep_input(r, param, t, x);
    for (size_t k = 0; k < a->rank; k++) {
        double mid = 0, first = 0;
        for (size_t i = 0; i < p->columns; i++) {
            mid += r->values[a->a_offset + k * p->columns + i] * r->kept[i];
            if (r->anchor != NULL)
                first += (double)r->anchor[a->a_offset + k * p->columns + i] * r->kept[i];
        }
        for (size_t o = 0; o < p->rows; o++) {
            size_t b = a->b_offset + o * a->rank + k;
            y[o] += (double)a->scale * mid * r->values[b];
            if (r->anchor != NULL)
                y[o] -= (double)a->scale * first * (double)r->anchor[b];
        }
    }
}

/* y = [y +] the plain output of a token, each row times m / norm where there is a magnitude. */
static void put_output(const struct reference64 *r, size_t param, double *y, int add)
{
    const struct binding_adapter *a = &r->binding->slots[param].adapter;
    for (size_t o = 0; o < model_param(r->model, param)->rows; o++) {
        double factor = 1;
        if (a->has_magnitude)
            factor = r->values[a->magnitude_offset + o] / r->norms[a->norm_offset + o];
        y[o] = (add ? y[o] : 0) + factor * r->plain[o];
    }
}

static void measure(struct reference64 *r, size_t param)
{
    const struct model_param *p = model_param(r->model, param);
    const struct binding_adapter *a = &r->binding->slots[param].adapter;
    for (size_t o = 0; o < p->rows; o++) {
        double sum = 0;
        for (size_t i = 0; i < p->columns; i++) {
            double w = r->weights[param][o * p->columns + i];
            for (size_t k = 0; k < a->rank; k++)
                w += (double)a->scale *
                     product_of(r, a->a_offset + k * p->columns + i, a->b_offset + o * a->rank + k);
            sum += w * w;
        }
        r->norms[a->norm_offset + o] = sqrt(sum);
    }
}

void reference64_hold(struct reference64 *reference, const double *values, const float *anchor)
{
    reference->values = values;
    reference->anchor = anchor;
    for (size_t i = 0; i < reference->binding->slot_count; i++) {
        if (reference->binding->slots[i].adapter.has_magnitude)
            measure(reference, i);
    }
}

/* Four partial sums: one would wait for itself at every step. */
static double dot(const double *a, const double *b, size_t count)
{
    double sum[4] = {0};
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        for (size_t l = 0; l < 4; l++)
            sum[l] += a[i + l] * b[i + l];
    }
    for (; i < count; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* y (T, out) = [y +] x (T, in) W^T + adapter */
static void linear(struct reference64 *r, enum model_role role, size_t layer, const double *x,
                   double *y, int add)
{
    size_t param = param_of(r, role, layer);
    const struct model_param *p = model_param(r->model, param);
    const double *w = weight_of(r, param);
    for (size_t t = 0; t < r->row->token_count; t++) {
        const double *xt = x + t * p->columns;
        for (size_t o = 0; o < p->rows; o++)
            r->plain[o] = dot(xt, w + o * p->columns, p->columns);
        add_adapter(r, param, t, xt, r->plain);
        put_output(r, param, y + t * p->rows, add);
    }
}

static void norm(struct reference64 *r, enum model_role role, size_t layer, const double *x,
                 double *y)
{
    const struct model_shape *s = model_shape(r->model);
    const double *gain = weight_of(r, param_of(r, role, layer));
    for (size_t t = 0; t < r->row->token_count; t++) {
        double sum = 0;
        for (size_t i = 0; i < s->width; i++)
            sum += x[t * s->width + i] * x[t * s->width + i];
        double inverse = 1 / sqrt(sum / (double)s->width + (double)s->norm_epsilon);
        for (size_t i = 0; i < s->width; i++)
            y[t * s->width + i] = x[t * s->width + i] * inverse * gain[i];
    }
}

static size_t segment_of(const struct train_row *row, size_t t)
{
    size_t start = 0;
    for (size_t i = 0; i < row->segment_count; i++)
        start = row->segment_starts[i] <= t ? row->segment_starts[i] : start;
    return start;
}

static void rotate(struct reference64 *r, size_t heads, double *x)
{
    const struct model_shape *s = model_shape(r->model);
    size_t half = s->head_width / 2;
    double scale;
    const double *frequency = model_rope_frequency(r->model, MODEL_ROPE_MAIN, &scale);
    for (size_t t = 0; t < r->row->token_count; t++) {
        double position = (double)(t - segment_of(r->row, t));
        for (size_t h = 0; h < heads; h++) {
            double *at = x + (t * heads + h) * s->head_width;
            for (size_t i = 0; i < half; i++) {
                double angle = position * frequency[i];
                double low = at[i], high = at[i + half];
                at[i] = low * cos(angle) - high * sin(angle);
                at[i + half] = high * cos(angle) + low * sin(angle);
            }
        }
    }
}

static void attend(struct reference64 *r, size_t t, size_t head)
{
    const struct model_shape *s = model_shape(r->model);
    size_t D = s->head_width, kv = head / (s->heads / s->kv_heads), first = segment_of(r->row, t);
    double max = -INFINITY, sum = 0, *out = r->heads + (t * s->heads + head) * D;
    if (s->window != 0 && t + 1 > first + s->window)
        first = t + 1 - s->window;
    for (size_t j = first; j <= t; j++) {
        double product =
            dot(r->q + (t * s->heads + head) * D, r->k + (j * s->kv_heads + kv) * D, D);
        r->scores[j] = product / sqrt((double)D);
        max = fmax(max, r->scores[j]);
    }
    for (size_t j = first; j <= t; j++) {
        r->scores[j] = exp(r->scores[j] - max);
        sum += r->scores[j];
    }
    memset(out, 0, D * sizeof *out);
    for (size_t j = first; j <= t; j++) {
        for (size_t d = 0; d < D; d++)
            out[d] += r->scores[j] / sum * r->v[(j * s->kv_heads + kv) * D + d];
    }
}

static double act_of(enum kernel_act act, double x)
{
    if (act == KERNEL_ACT_RELU)
        return fmax(x, 0);
    if (act == KERNEL_ACT_GELU_ERF)
        return x / 2 * (1 + erf(x / sqrt(2)));
    return x / (1 + exp(-x));
}

/* y += the bottleneck of a place, of x, (T, C) both and not the same */
static void squeeze(struct reference64 *r, size_t layer, enum binding_place place, const double *x,
                    double *y)
{
    const struct binding_bottleneck *b = binding_bottleneck(r->binding, layer, place);
    size_t C = model_shape(r->model)->width;
    for (size_t t = 0; b != NULL && t < r->row->token_count; t++) {
        for (size_t n = 0; n < b->width; n++) {
            double sum = dot(x + t * C, r->values + b->down_offset + n * C, C);
            r->kept[n] = act_of(b->act, sum + r->values[b->down_bias_offset + n]);
        }
        for (size_t c = 0; c < C; c++) {
            double sum = dot(r->kept, r->values + b->up_offset + c * b->width, b->width);
            y[t * C + c] += (double)b->scale * (sum + r->values[b->up_bias_offset + c]);
        }
    }
}

/* x += what a branch came to and the bottleneck behind it */
static void join(struct reference64 *r, size_t layer, enum binding_place place)
{
    for (size_t i = 0; i < r->row->token_count * model_shape(r->model)->width; i++)
        r->x[i] += r->added[i];
    squeeze(r, layer, place, r->added, r->x);
}

static void layer_forward(struct reference64 *r, size_t layer)
{
    const struct model_shape *s = model_shape(r->model);
    norm(r, MODEL_ATTENTION_NORM, layer, r->x, r->normed);
    linear(r, MODEL_QUERY, layer, r->normed, r->q, 0);
    linear(r, MODEL_KEY, layer, r->normed, r->k, 0);
    linear(r, MODEL_VALUE, layer, r->normed, r->v, 0);
    rotate(r, s->heads, r->q);
    rotate(r, s->kv_heads, r->k);
    for (size_t t = 0; t < r->row->token_count; t++) {
        for (size_t head = 0; head < s->heads; head++)
            attend(r, t, head);
    }
    linear(r, MODEL_OUTPUT, layer, r->heads, r->added, 0);
    join(r, layer, BINDING_AFTER_ATTENTION);
    norm(r, MODEL_MLP_NORM, layer, r->x, r->normed);
    linear(r, MODEL_GATE, layer, r->normed, r->gate, 0);
    linear(r, MODEL_UP, layer, r->normed, r->up, 0);
    for (size_t i = 0; i < r->row->token_count * s->mlp_width; i++)
        r->extra[i] = r->gate[i] / (1 + exp(-r->gate[i])) * r->up[i];
    linear(r, MODEL_DOWN, layer, r->extra, r->added, 0);
    join(r, layer, BINDING_AFTER_MLP);
    squeeze(r, layer, BINDING_BESIDE_MLP, r->normed, r->x);
    memcpy(r->added, r->x, r->row->token_count * s->width * sizeof *r->x);
    squeeze(r, layer, BINDING_AFTER_LAYER, r->added, r->x);
}

static double token_loss(struct reference64 *r, size_t t)
{
    const struct model_shape *s = model_shape(r->model);
    size_t head = param_of(r, MODEL_HEAD, 0);
    const double *w = weight_of(r, head), *x = r->normed + t * s->width;
    double max = -INFINITY, sum = 0;
    for (size_t v = 0; v < s->vocabulary; v++)
        r->plain[v] = dot(x, w + v * s->width, s->width);
    add_adapter(r, head, t, x, r->plain);
    put_output(r, head, r->scores, 0);
    for (size_t v = 0; v < s->vocabulary; v++)
        max = fmax(max, r->scores[v]);
    for (size_t v = 0; v < s->vocabulary; v++)
        sum += exp(r->scores[v] - max);
    return log(sum) + max - r->scores[r->row->tokens[t + 1]];
}

/* The row with the prompt before each of its segments. */
static struct train_row insert_prompts(struct reference64 *r, const struct train_row *row)
{
    struct train_row out = {.index = row->index,
                            .tokens = r->tokens,
                            .loss = r->loss,
                            .segment_starts = r->starts,
                            .segment_count = row->segment_count};
    for (size_t t = 0, segment = 0; t < row->token_count; t++) {
        bool starts = segment < row->segment_count && row->segment_starts[segment] == t;
        if (starts)
            r->starts[segment++] = (uint32_t)out.token_count;
        for (size_t i = 0; starts && i < r->binding->prompt_count; i++) {
            r->loss[out.token_count] = 0;
            r->tokens[out.token_count++] = PROMPT;
        }
        r->loss[out.token_count] = starts ? 0 : row->loss[t];
        r->tokens[out.token_count++] = row->tokens[t];
    }
    return out;
}

static void look_up(const struct reference64 *r, uint32_t token, double *x)
{
    const struct model_shape *s = model_shape(r->model);
    const struct binding_adapter *a = &r->binding->lookup;
    for (size_t k = 0; k < a->rank; k++) {
        double mid = (double)a->scale * r->values[a->a_offset + k * s->vocabulary + token];
        for (size_t i = 0; i < s->width; i++)
            x[i] += mid * r->values[a->b_offset + i * a->rank + k];
    }
}

static void embed(struct reference64 *r)
{
    size_t C = model_shape(r->model)->width;
    const double *table = weight_of(r, param_of(r, MODEL_EMBEDDING, 0));
    const double *prompt = r->values + r->binding->prompt_offset;
    for (size_t t = 0; t < r->row->token_count; t++) {
        size_t place = t - segment_of(r->row, t);
        const double *from =
            r->row->tokens[t] == PROMPT ? prompt + place * C : table + r->row->tokens[t] * C;
        memcpy(r->x + t * C, from, C * sizeof(double));
        if (r->row->tokens[t] != PROMPT)
            look_up(r, r->row->tokens[t], r->x + t * C);
    }
}

double reference64_loss(struct reference64 *reference, const double *values, uint64_t seed,
                        uint64_t round, const struct train_row *row)
{
    struct reference64 *r = reference;
    r->values = values;
    struct train_row whole = insert_prompts(r, row);
    r->row = row = &whole;
    r->seed = seed;
    r->round = round;
    embed(r);
    for (size_t layer = 0; layer < model_shape(r->model)->layers; layer++)
        layer_forward(r, layer);
    norm(r, MODEL_FINAL_NORM, 0, r->x, r->normed);
    double loss = 0;
    for (size_t t = 0; t + 1 < row->token_count; t++) {
        if (row->loss[t + 1] != 0 && segment_of(row, t + 1) == segment_of(row, t))
            loss += token_loss(r, t);
    }
    return loss;
}
