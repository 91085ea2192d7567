/* calibrate_gram.c - the triangle and its memory; the product is kernel/gram.h. */
#include "worker/engine/calibrate/calibrate_gram.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "worker/engine/kernel/gram.h"
#include "worker/engine/kernel/kernel.h"

bool calibrate_gram_count(size_t columns, size_t *count)
{
    size_t square, bytes;
    if (!check_mul(columns, columns + 1, &square) || !check_mul(square / 2, sizeof(double), &bytes))
        return false;
    *count = square / 2;
    return true;
}

enum err calibrate_gram_init(struct calibrate_gram *gram, struct kernel *kernel, size_t columns)
{
    size_t count, panel;
    if (columns == SIZE_MAX || !calibrate_gram_count(columns, &count) ||
        !check_mul(columns, GRAM_PANEL * sizeof(float), &panel))
        return ERR_OVERFLOW;
    struct calibrate_gram g = {.columns = columns, .count = count, .kernel = kernel};
    g.sums = mem_alloc(count, sizeof *g.sums);
    g.panel = kernel_alloc(kernel, GRAM_PANEL * columns);
    if (g.sums == NULL || g.panel == NULL) {
        calibrate_gram_fini(&g);
        return ERR_OUT_OF_MEMORY;
    }
    *gram = g;
    return ERR_OK;
}

void calibrate_gram_fini(struct calibrate_gram *gram)
{
    if (gram->kernel != NULL)
        kernel_free(gram->kernel, gram->panel);
    mem_free(gram->sums);
    *gram = (struct calibrate_gram){0};
}

void calibrate_gram_add(struct calibrate_gram *gram, size_t tokens, const float *x)
{
    gram_add(gram->kernel, tokens, gram->columns, x, gram->panel, gram->sums);
    gram->tokens += tokens;
    gram->rows++;
}

void calibrate_gram_expand(size_t columns, const double *triangle, double *matrix)
{
    for (size_t i = 0; i < columns; i++) {
        for (size_t j = i; j < columns; j++)
            matrix[i * columns + j] = matrix[j * columns + i] = *triangle++;
    }
}
