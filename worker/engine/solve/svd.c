/* svd.c - a subspace through W and W^T in turns, then the small problem within it.
 *
 *   Q (columns, l)  a basis of where W's largest values are, orthonormal
 *   W Q = P R       P (rows, l) orthonormal, R (l, l) triangular
 *   R J = U' diag(s)     J a product of plane rotations; then U = P U' and V = Q J
 *
 * Products over the large sides run on all threads in tiles of doubles; bases are made orthonormal
 * vector by vector, each against those before it, twice (Giraud et al. 2005: twice is enough).
 */
#include "worker/engine/solve/svd.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "common/numeric/random.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/kernel/lanes_f64.h"

/* EXTRA: how much wider than the rank the subspace is; a smaller side up to WHOLE is taken whole.
 * DOWN, DEPTH: a tile of W. */
enum { EXTRA = 8, WHOLE = 64, DOWN = 96, DEPTH = 128, LANES = 8, SWEEPS_MAX = 60 };

/* A rotation is left out when two columns are this near to orthogonal. */
static const double NEAR = 0x1p-50;
/* What is left of a vector beside the others when it is nothing but rounding. */
static const double NOTHING = 0x1p-44;

struct svd {
    struct kernel *kernel;
    const struct lanes_f64 *lanes;
    const float *w;
    size_t rows, columns, width; /* width: l */
    double *left;                /* (rows, l): W Q, then P */
    double *right;               /* (columns, l): Q */
    double *vectors;             /* (l, the larger side): a basis, a vector a row */
    double *triangle;            /* (l, l): column k of R in row k */
    double *turn;                /* (l, l): column k of J in row k */
    double *sizes;               /* (l): of the columns of R J */
    double *tiles;               /* owned: (DEPTH, DOWN) a thread; the others follow it */
};

/* ---- products ---- */

/* Rows [at, at + DOWN) of left = -(W right), each chain over the columns ascending. */
static void left_task(void *context, size_t index, unsigned thread)
{
    const struct svd *s = context;
    size_t at = index * DOWN, down = MIN((size_t)DOWN, s->rows - at), l = s->width;
    double *tile = s->tiles + (size_t)thread * DEPTH * DOWN;
    for (size_t c = 0; c < s->columns; c += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, s->columns - c);
        for (size_t i = 0; i < down; i++)
            for (size_t p = 0; p < depth; p++)
                tile[p * DOWN + i] = (double)s->w[(at + i) * s->columns + c + p];
        s->lanes->subtract(&(struct lanes_f64_product){.m = down,
                                                       .n = l,
                                                       .k = depth,
                                                       .a = tile,
                                                       .a_row = DOWN,
                                                       .b = s->right + c * l,
                                                       .b_row = l,
                                                       .c = s->left + at * l,
                                                       .c_row = l});
    }
}

/* Rows [at, at + DOWN) of right = -(W^T left), each chain over the rows ascending. */
static void right_task(void *context, size_t index, unsigned thread)
{
    const struct svd *s = context;
    size_t at = index * DOWN, down = MIN((size_t)DOWN, s->columns - at), l = s->width;
    double *tile = s->tiles + (size_t)thread * DEPTH * DOWN;
    for (size_t r = 0; r < s->rows; r += DEPTH) {
        size_t depth = MIN((size_t)DEPTH, s->rows - r);
        for (size_t p = 0; p < depth; p++)
            for (size_t i = 0; i < down; i++)
                tile[p * DOWN + i] = (double)s->w[(r + p) * s->columns + at + i];
        s->lanes->subtract(&(struct lanes_f64_product){.m = down,
                                                       .n = l,
                                                       .k = depth,
                                                       .a = tile,
                                                       .a_row = DOWN,
                                                       .b = s->left + r * l,
                                                       .b_row = l,
                                                       .c = s->right + at * l,
                                                       .c_row = l});
    }
}

static void make_left(struct svd *s)
{
    memset(s->left, 0, s->rows * s->width * sizeof *s->left);
    kernel_parallel(s->kernel, (s->rows + DOWN - 1) / DOWN, left_task, s);
    for (size_t i = 0; i < s->rows * s->width; i++)
        s->left[i] = -s->left[i];
}

static void make_right(struct svd *s)
{
    memset(s->right, 0, s->columns * s->width * sizeof *s->right);
    kernel_parallel(s->kernel, (s->columns + DOWN - 1) / DOWN, right_task, s);
    for (size_t i = 0; i < s->columns * s->width; i++)
        s->right[i] = -s->right[i];
}

/* ---- bases ---- */

/* In eight lanes, element i in lane i mod 8, added as a tree. */
static double dot(size_t count, const double *a, const double *b)
{
    double sums[LANES] = {0};
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            sums[j] += a[i + j] * b[i + j];
    for (size_t i = whole; i < count; i++)
        sums[i - whole] += a[i] * b[i];
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            sums[j] += sums[j + half];
    return sums[0];
}

static void add_times(size_t count, double factor, const double *x, double *y)
{
    for (size_t i = 0; i < count; i++)
        y[i] += factor * x[i];
}

static void scale(size_t count, double factor, double *x)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= factor;
}

/* (down, across) to (across, down). */
static void transpose(size_t down, size_t across, const double *from, double *to)
{
    for (size_t i = 0; i < down; i++)
        for (size_t j = 0; j < across; j++)
            to[j * down + i] = from[i * across + j];
}

/* basis (size, l) becomes orthonormal, vectors that depend on those before them 0; the triangle
 * receives what it was made of. */
static void orthonormalize(struct svd *s, size_t size, double *basis)
{
    size_t l = s->width;
    transpose(size, l, basis, s->vectors);
    memset(s->triangle, 0, l * l * sizeof *s->triangle);
    for (size_t k = 0; k < l; k++) {
        double *v = s->vectors + k * size, *r = s->triangle + k * l;
        double before = sqrt(dot(size, v, v));
        for (int pass = 0; pass < 2; pass++) {
            for (size_t j = 0; j < k; j++) {
                double along = dot(size, s->vectors + j * size, v);
                add_times(size, -along, s->vectors + j * size, v);
                r[j] += along;
            }
        }
        r[k] = sqrt(dot(size, v, v));
        if (r[k] <= before * NOTHING)
            r[k] = 0;
        scale(size, r[k] > 0 ? 1 / r[k] : 0, v);
    }
    transpose(l, size, s->vectors, basis);
}

/* ---- the small problem ---- */

static bool rotate(size_t l, double *a, double *b, double *ja, double *jb)
{
    double alpha = dot(l, a, a), beta = dot(l, b, b), gamma = dot(l, a, b);
    if (!(fabs(gamma) > NEAR * sqrt(alpha) * sqrt(beta)))
        return false;
    double zeta = (beta - alpha) / (2 * gamma);
    double t = (zeta < 0 ? -1 : 1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    double c = 1 / sqrt(1 + t * t), sine = c * t;
    for (size_t i = 0; i < l; i++) {
        double x = a[i], y = b[i], jx = ja[i], jy = jb[i];
        a[i] = c * x - sine * y;
        b[i] = sine * x + c * y;
        ja[i] = c * jx - sine * jy;
        jb[i] = sine * jx + c * jy;
    }
    return true;
}

/* Columns of R (rows of the triangle) become those of U' diag(s), J the rotations. */
static void decompose(struct svd *s)
{
    size_t l = s->width;
    bool again = true;
    memset(s->turn, 0, l * l * sizeof *s->turn);
    for (size_t k = 0; k < l; k++)
        s->turn[k * l + k] = 1;
    for (int sweep = 0; again && sweep < SWEEPS_MAX; sweep++) {
        again = false;
        for (size_t p = 0; p < l; p++)
            for (size_t q = p + 1; q < l; q++)
                again |= rotate(l, s->triangle + p * l, s->triangle + q * l, s->turn + p * l,
                                s->turn + q * l);
    }
}

/* ---- the result ---- */

/* Column `to` of out (size, rank) = basis (size, l) times `x` (l). */
static void combine(const struct svd *s, size_t size, const double *basis, const double *x,
                    size_t rank, size_t to, double *out)
{
    for (size_t i = 0; i < size; i++)
        out[i * rank + to] = dot(s->width, basis + i * s->width, x);
}

/* The first of the largest magnitudes of the column of U becomes positive. */
static void settle_sign(const struct svd *s, size_t rank, size_t column, double *u, double *v)
{
    double most = 0;
    for (size_t i = 0; i < s->rows; i++)
        most = fabs(u[i * rank + column]) > fabs(most) ? u[i * rank + column] : most;
    if (!(most < 0))
        return;
    for (size_t i = 0; i < s->rows; i++)
        u[i * rank + column] = -u[i * rank + column];
    for (size_t i = 0; i < s->columns; i++)
        v[i * rank + column] = -v[i * rank + column];
}

/* The largest values in turn; of equal ones the first. */
static void collect(struct svd *s, size_t rank, double *u, double *values, double *v)
{
    size_t l = s->width;
    for (size_t i = 0; i < l; i++)
        s->sizes[i] = sqrt(dot(l, s->triangle + i * l, s->triangle + i * l));
    for (size_t k = 0; k < rank; k++) {
        size_t best = 0;
        for (size_t i = 1; i < l; i++)
            best = s->sizes[i] > s->sizes[best] ? i : best;
        values[k] = s->sizes[best];
        s->sizes[best] = -1; /* taken */
        scale(l, values[k] > 0 ? 1 / values[k] : 0, s->triangle + best * l);
        combine(s, s->rows, s->left, s->triangle + best * l, rank, k, u);
        combine(s, s->columns, s->right, s->turn + best * l, rank, k, v);
        settle_sign(s, rank, k, u, v);
    }
}

/* ---- */

static void identity(size_t size, size_t l, double *basis)
{
    memset(basis, 0, size * l * sizeof *basis);
    for (size_t i = 0; i < MIN(size, l); i++)
        basis[i * l + i] = 1;
}

/* right becomes the basis Q. */
static void find_subspace(struct svd *s, const struct svd_options *options)
{
    size_t l = s->width;
    if (l == s->columns) {
        identity(s->columns, l, s->right);
        return;
    }
    if (l == s->rows) {
        identity(s->rows, l, s->left);
        make_right(s);
        orthonormalize(s, s->columns, s->right);
        return;
    }
    for (size_t i = 0; i < s->columns * l; i++)
        s->right[i] = (double)random_normal_f32(options->key, i);
    for (size_t i = 0; i < options->iterations + 1; i++) {
        make_left(s);
        orthonormalize(s, s->rows, s->left);
        make_right(s);
        orthonormalize(s, s->columns, s->right);
    }
}

static enum err make_room(struct svd *s)
{
    size_t l = s->width, sides = s->rows + s->columns + MAX(s->rows, s->columns) + 2 * l + 1, count;
    size_t tiles = (size_t)kernel_threads(s->kernel) * DEPTH * DOWN;
    if (!check_mul(sides, l, &count) || !check_add(count, tiles, &count))
        return ERR_OVERFLOW;
    s->tiles = mem_alloc_aligned(count, sizeof(double));
    if (s->tiles == NULL)
        return ERR_OUT_OF_MEMORY;
    s->left = s->tiles + tiles;
    s->right = s->left + s->rows * l;
    s->vectors = s->right + s->columns * l;
    s->triangle = s->vectors + MAX(s->rows, s->columns) * l;
    s->turn = s->triangle + l * l;
    s->sizes = s->turn + l * l;
    return ERR_OK;
}

enum err svd_truncate(struct kernel *kernel, size_t rows, size_t columns, const float *w,
                      const struct svd_options *options, double *u, double *s, double *v)
{
    size_t side = MIN(rows, columns), rank = options->rank;
    struct svd state = {.kernel = kernel,
                        .lanes = kernel_lanes_f64(kernel),
                        .w = w,
                        .rows = rows,
                        .columns = columns};
    ASSERT(rank >= 1 && rank <= side);
    state.width = side <= WHOLE ? side : MIN(rank + EXTRA, side);
    TRY(make_room(&state));
    find_subspace(&state, options);
    make_left(&state);
    orthonormalize(&state, rows, state.left);
    decompose(&state);
    collect(&state, rank, u, s, v);
    mem_free(state.tiles);
    return ERR_OK;
}
