/* task_target_choose.c - from what each tensor costs in each format to a choice for all of them.
 *
 * The size is that of the whole: the bytes of all tensors of the file, vectors and the rest that is
 * not chosen included, over all its weights. The loss is the sum of the tensors' divergences.
 */
#include <stdio.h>

#include "common/base/check.h"
#include "common/formats/convert/mix_target.h"
#include "common/formats/json/json_write.h"
#include "worker/task/task_target.h"

enum { TABLE_BYTES_MAX = 64 << 20, NAME_BYTES = 32 };

struct choosing {
    struct task_run *run;
    struct task_gguf gguf;              /* owned */
    struct arena *arena;                /* borrowed: what outlives the choice */
    struct task_target_tensor *tensors; /* (count) in the order of the file */
    size_t *chosen;                     /* (count) candidates */
    size_t count;
    struct mix_target_tensor *search; /* (count) */
    uint64_t weights;                 /* of the whole file */
    uint64_t fixed_bytes;             /* of what is not chosen */
    struct mix_target_total total;    /* of what is */
};

static double bits_per_weight(const struct choosing *c, uint64_t chosen_bytes)
{
    return 8.0 * (double)(chosen_bytes + c->fixed_bytes) / (double)c->weights;
}

/* ---- what there is to choose from ---- */

/* A tensor whose format the recipe names: nothing was measured, and it is in all sums. */
static void add_given(struct choosing *c, const struct convert_tensor *t)
{
    c->tensors[c->count++] = (struct task_target_tensor){
        .name = text_of(t->name),
        .rows = t->rows,
        .columns = t->columns,
        .count = 1,
        .candidates = {{.format = t->out, .size_bytes = convert_tensor_size_bytes(t)}},
    };
}

static enum err add_measured(struct choosing *c, size_t index, size_t task, struct err_text *et)
{
    char name[NAME_BYTES];
    struct task_target_tensor expected;
    struct task_target_tensor *tensor = &c->tensors[c->count++];
    (void)snprintf(name, sizeof name, "sensitivity/%zu", task);
    TRY(task_target_read(c->run, name, c->arena, tensor, et));
    task_target_outline(&c->gguf, index, &expected);
    bool is_same = text_equal(tensor->name, expected.name) && tensor->count == expected.count;
    for (size_t i = 0; is_same && i < expected.count; i++)
        is_same = tensor->candidates[i].format == expected.candidates[i].format &&
                  tensor->candidates[i].size_bytes == expected.candidates[i].size_bytes;
    return is_same ? ERR_OK
                   : error_set(et, ERR_FORMAT, "%s: expected tensor %.*s, found %.*s", name,
                               TEXT_ARGS(expected.name), TEXT_ARGS(tensor->name));
}

static enum err list_tensors(struct choosing *c, struct err_text *et)
{
    size_t *indices, measured, task = 0, total = convert_gguf_count(c->gguf.form);
    TRY(task_target_list(&c->gguf, c->arena, &indices, &measured, et));
    c->tensors = arena_alloc(c->arena, total, sizeof *c->tensors);
    c->search = arena_alloc(c->arena, total, sizeof *c->search);
    c->chosen = arena_alloc(c->arena, total, sizeof *c->chosen);
    if (c->tensors == NULL || c->search == NULL || c->chosen == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < total; i++) {
        const struct convert_tensor *t = convert_gguf_tensor(c->gguf.form, i);
        if (task < measured && indices[task] == i)
            TRY(add_measured(c, i, task++, et));
        else if (convert_gguf_takes_part(c->gguf.form, i) && !convert_float_is_plain(t->out))
            add_given(c, t);
    }
    return ERR_OK;
}

static enum err list_search(struct choosing *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct task_target_tensor *t = &c->tensors[i];
        struct mix_target_candidate *list = arena_alloc(c->arena, t->count, sizeof *list);
        if (list == NULL)
            return ERR_OUT_OF_MEMORY;
        for (size_t k = 0; k < t->count; k++)
            list[k] =
                (struct mix_target_candidate){t->candidates[k].size_bytes, t->candidates[k].kl};
        c->search[i] = (struct mix_target_tensor){list, t->count};
        c->chosen[i] = 0;
    }
    return ERR_OK;
}

static enum err list_choices(const struct choosing *c, struct task_choices *out)
{
    struct task_choice *items = arena_alloc(c->arena, c->count, sizeof *items);
    if (items == NULL)
        return ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < c->count; i++) {
        const struct task_target_tensor *t = &c->tensors[i];
        const struct task_target_candidate *one = &t->candidates[c->chosen[i]];
        const char *name = arena_copy_text(c->arena, t->name);
        if (name == NULL)
            return ERR_OUT_OF_MEMORY;
        items[i] = (struct task_choice){.name = text_of(name),
                                        .format = text_of(block_format_name(one->format)),
                                        .rows = t->rows,
                                        .columns = t->columns,
                                        .size_bytes = one->size_bytes};
    }
    *out = (struct task_choices){TEXT("gguf"), TEXT("target"), items, c->count};
    return ERR_OK;
}

/* The sizes of the rest, as the file of some choice has them. */
static enum err weigh_rest(struct choosing *c, struct err_text *et)
{
    struct task_choices some;
    struct task_gguf form;
    TRY(list_choices(c, &some));
    enum err err = task_gguf_open(c->run, &some, &form, et);
    if (err == ERR_OK) {
        struct convert_gguf_total total = convert_gguf_total(form.form);
        c->weights = total.weights;
        c->fixed_bytes = total.size_bytes;
        for (size_t i = 0; i < some.count; i++)
            c->fixed_bytes -= some.items[i].size_bytes;
    }
    task_gguf_close(&form);
    return err;
}

/* ---- the search ---- */

static enum err fit(struct choosing *c, struct err_text *et)
{
    double target = c->run->recipe.quantize.target_bpw;
    uint64_t size_bytes = mix_target_size_bytes(target, c->weights);
    size_bytes = size_bytes > c->fixed_bytes ? size_bytes - c->fixed_bytes : 0;
    enum err err = mix_target_fit(c->search, c->count, size_bytes, c->chosen, &c->total);
    if (err == ERR_NOT_FOUND)
        return error_set(et, ERR_RECIPE,
                         "quantize.target_bpw: expected at least %.4f bits per weight, the least "
                         "that is possible for this model; found %.17g",
                         bits_per_weight(c, c->total.size_bytes), target);
    return err;
}

static enum err reach(struct choosing *c, struct err_text *et)
{
    double target = c->run->recipe.quantize.target_kl;
    enum err err = mix_target_reach(c->search, c->count, target, c->chosen, &c->total);
    if (err == ERR_NOT_FOUND)
        return error_set(et, ERR_RECIPE,
                         "quantize.target_kl: expected at least %.3g, what is lost with all "
                         "tensors in their largest types (%.4f bits per weight); found %.17g",
                         c->total.loss, bits_per_weight(c, c->total.size_bytes), target);
    return err;
}

/* ---- the table ---- */

static void put_candidate(struct json_write *w, const struct task_target_candidate *c)
{
    json_write_object_begin(w, NULL);
    json_write_text(w, "format", text_of(block_format_name(c->format)));
    json_write_u64(w, "size_bytes", c->size_bytes);
    json_write_f64(w, "kl", c->kl);
    json_write_f64(w, "kl_max", c->kl_max);
    json_write_f64(w, "relative_error", c->relative_error);
    json_write_f64(w, "weighted_error", c->weighted_error);
    json_write_object_end(w);
}

static void put_tensor(struct json_write *w, const struct task_target_tensor *t, size_t chosen)
{
    json_write_object_begin(w, NULL);
    json_write_text(w, "tensor", t->name);
    json_write_u64(w, "rows", t->rows);
    json_write_u64(w, "columns", t->columns);
    json_write_text(w, "format", text_of(block_format_name(t->candidates[chosen].format)));
    json_write_array_begin(w, "candidates");
    for (size_t i = 0; i < t->count && t->tokens > 0; i++)
        put_candidate(w, &t->candidates[i]);
    json_write_array_end(w);
    json_write_object_end(w);
}

static uint64_t tokens_of(const struct choosing *c)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < c->count; i++)
        tokens = MAX(tokens, c->tensors[i].tokens);
    return tokens;
}

static enum err put_table(const struct choosing *c, struct bytes *out)
{
    const struct recipe_quantize *q = &c->run->recipe.quantize;
    uint64_t size_bytes = c->total.size_bytes + c->fixed_bytes;
    struct json_write w;
    json_write_init(&w, JSON_WRITE_PRETTY, TABLE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    if (q->target_bpw > 0)
        json_write_f64(&w, "target_bpw", q->target_bpw);
    if (q->target_kl > 0)
        json_write_f64(&w, "target_kl", q->target_kl);
    json_write_u64(&w, "weights", c->weights);
    json_write_u64(&w, "size_bytes", size_bytes);
    json_write_f64(&w, "bits_per_weight", bits_per_weight(c, c->total.size_bytes));
    json_write_f64(&w, "predicted_kl", c->total.loss);
    json_write_u64(&w, "tokens", tokens_of(c));
    json_write_array_begin(&w, "tensors");
    for (size_t i = 0; i < c->count; i++)
        put_tensor(&w, &c->tensors[i], c->chosen[i]);
    json_write_array_end(&w);
    json_write_object_end(&w);
    return json_write_close(&w, out);
}

static enum err hand_in(const struct choosing *c, struct err_text *et)
{
    struct bytes text;
    bytes_init(&text, SIZE_MAX);
    enum err err = put_table(c, &text);
    if (err == ERR_OK)
        err = task_run_output(c->run, "target", bytes_span(&text), false, et);
    bytes_fini(&text);
    return err;
}

enum err task_target_choose(struct task_run *run, struct arena *arena, struct task_choices *out,
                            struct err_text *et)
{
    struct choosing c = {.run = run, .arena = arena};
    enum err err;
    TRY_OUT(task_gguf_open(run, NULL, &c.gguf, et));
    TRY_OUT(list_tensors(&c, et));
    TRY_OUT(list_search(&c));
    TRY_OUT(weigh_rest(&c, et));
    TRY_OUT(run->recipe.quantize.target_bpw > 0 ? fit(&c, et) : reach(&c, et));
    TRY_OUT(list_choices(&c, out));
    err = hand_in(&c, et);
out:
    task_gguf_close(&c.gguf);
    return err;
}
