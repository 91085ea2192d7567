/* tensor_view.c - which row is meant, and what every observer would make of its input. */
#include "cli/stats/tensor_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/calibration/site_range.h"

#define WEIGHT ".weight"

enum { NAME_BYTES = 512 };

static const char *copy_name(struct text name, char out[NAME_BYTES])
{
    (void)snprintf(out, NAME_BYTES, "%.*s", TEXT_ARGS(name));
    return out;
}

/* How well a row's name fits what was typed: 0 not at all, 1 a part, 2 an end, 3 it is it. */
static unsigned fit_name(struct text text, const char *typed)
{
    char name[NAME_BYTES];
    size_t size = strlen(copy_name(text, name)), wanted = strlen(typed);
    if (strcmp(name, typed) == 0)
        return 3;
    if (size > strlen(WEIGHT) && strcmp(name + size - strlen(WEIGHT), WEIGHT) == 0) {
        size -= strlen(WEIGHT);
        name[size] = '\0';
    }
    if (strcmp(name, typed) == 0)
        return 3;
    if (size > wanted && strcmp(name + size - wanted, typed) == 0 && name[size - wanted - 1] == '.')
        return 2;
    return strstr(name, typed) != NULL ? 1 : 0;
}

/* The tensor's own name stands above that of an input, which several tensors share. */
static unsigned fit_row(const struct overview_row *row, const char *typed)
{
    unsigned own = 2 * fit_name(row->name, typed);
    unsigned input = row->site != NULL ? 2 * fit_name(row->site->name, typed) : 0;
    return MAX(own, input > 0 ? input - 1 : 0);
}

static enum err not_found(const struct overview *overview, const char *typed, struct err_text *et)
{
    struct nearest nearest = {0};
    char best[NAME_BYTES] = "", name[NAME_BYTES];
    for (size_t i = 0; i < overview->count; i++) {
        size_t before = nearest.distance;
        bool had = nearest.word != NULL;
        nearest_offer(&nearest, text_of(typed), copy_name(overview->rows[i].name, name));
        if (nearest.word != NULL && (!had || nearest.distance < before))
            (void)snprintf(best, sizeof best, "%s", name);
    }
    if (best[0] != '\0')
        return error_set(et, ERR_NOT_FOUND, "%s: no such tensor; did you mean %s?", typed, best);
    return error_set(et, ERR_NOT_FOUND, "%s: no such tensor; `qctl stats JOB --top 0` lists them",
                     typed);
}

static enum err find_row(const struct overview *overview, const char *typed,
                         const struct overview_row **out, struct err_text *et)
{
    unsigned best = 0;
    const struct overview_row *first = NULL, *second = NULL;
    for (size_t i = 0; i < overview->count; i++) {
        unsigned fit = fit_row(&overview->rows[i], typed);
        if (fit > best) {
            best = fit;
            first = &overview->rows[i];
            second = NULL;
        } else if (fit > 0 && fit == best) {
            second = &overview->rows[i];
        }
    }
    if (first == NULL)
        return not_found(overview, typed, et);
    /* Tensors that share the input that was named: the first stands for it. */
    if (second != NULL && !(best % 2 != 0 && first->site == second->site))
        return error_set(et, ERR_AMBIGUOUS, "%s: more than one tensor: %.*s, %.*s, ...", typed,
                         TEXT_ARGS(first->name), TEXT_ARGS(second->name));
    *out = first;
    return ERR_OK;
}

static enum range_search_method chosen_method(const struct recipe *recipe)
{
    const struct recipe_quantize *q = &recipe->quantize;
    if (q->activations != RECIPE_QUANTIZE_ACTIVATIONS_STATIC)
        return RANGE_SEARCH_METHOD_COUNT;
    if (q->observer == RECIPE_QUANTIZE_OBSERVER_AUTO)
        return RANGE_SEARCH_MINMAX;
    if (q->observer == RECIPE_QUANTIZE_OBSERVER_IMPORTANCE_MSE)
        return RANGE_SEARCH_MSE;
    return range_search_find_method(text_of(recipe_quantize_observer_word(q->observer)));
}

static enum err find_clips(struct tensor_view *view, const struct recipe *recipe,
                           const struct statistics *stats)
{
    static const struct range_grid grid = {.bits = 8, .is_signed = true, .is_symmetric = true};
    struct range_search_options options = range_search_defaults;
    const struct statistics_site *site = view->row->site;
    options.percentile = recipe->quantize.percentile;
    for (unsigned m = 0; m < RANGE_SEARCH_METHOD_COUNT; m++) {
        struct tensor_view_clip *clip = &view->clips[m];
        struct range range;
        *clip =
            (struct tensor_view_clip){.method = (enum range_search_method)m, .limit = (double)NAN};
        if (site == NULL)
            continue;
        enum err err = site_range_find(stats, site, clip->method, &options, &grid, false, &range);
        if (err == ERR_OUT_OF_MEMORY)
            return err;
        if (err != ERR_OK)
            continue;
        struct range_scale scale = range_grid_scale(&grid, range);
        clip->limit = (double)range.max;
        clip->scale = (double)scale.scale;
        clip->is_chosen = clip->method == chosen_method(recipe);
        if (view->has_histogram)
            clip->error = range_grid_error(&grid, scale, &site->histogram, 0);
    }
    return ERR_OK;
}

enum err tensor_view_find(const struct overview *overview, const struct recipe *recipe,
                          const struct statistics *stats, const char *name, struct tensor_view *out,
                          struct err_text *et)
{
    struct tensor_view view = {.row = NULL};
    TRY(find_row(overview, name, &view.row, et));
    view.has_histogram =
        view.row->site != NULL && (view.row->site->kinds & STATISTICS_HISTOGRAM) != 0;
    TRY(find_clips(&view, recipe, stats));
    *out = view;
    return ERR_OK;
}
