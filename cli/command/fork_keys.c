/* fork_keys.c - a table, and a walk over two canonical texts, whose keys are sorted. */
#include "cli/command/fork_keys.h"

#include <string.h>

#include "common/base/check.h"

static const char *const free_keys[] = {
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "base_model_name",
    "cosine_min_lr_ratio",
    "dpo_label_smoothing",
    "eval_on_start",
    "eval_steps",
    "evals_per_epoch",
    "evaluate",
    "gradient_checkpointing",
    "learning_rate",
    "logging_steps",
    "lora_dropout",
    "loss_watchdog_patience",
    "loss_watchdog_threshold",
    "lr_scheduler",
    "max_grad_norm",
    "max_steps",
    "merge",
    "name",
    "num_epochs",
    "output_dir",
    "perplexity",
    "priority",
    "quantize",
    "resources",
    "rl_beta",
    "save_steps",
    "save_total_limit",
    "saves_per_epoch",
    "use_tensorboard",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
};

static const char *const data_keys[] = {
    "batch_size",
    "gradient_accumulation_steps",
    "micro_batch_size",
    "sample_packing",
    "seed",
    "sequence_len",
    "train_on_inputs",
    "val_set_size",
};

enum fork_keys_class fork_keys_class(struct text key)
{
    for (size_t i = 0; i < COUNT_OF(free_keys); i++) {
        if (text_is(key, free_keys[i]))
            return FORK_KEYS_FREE;
    }
    for (size_t i = 0; i < COUNT_OF(data_keys); i++) {
        if (text_is(key, data_keys[i]))
            return FORK_KEYS_DATA;
    }
    return FORK_KEYS_REFUSED;
}

/* A key with all its lines, taken from what is left. */
struct entry {
    struct text key, lines;
};

static size_t line_size(struct text rest)
{
    const char *newline = memchr(rest.data, '\n', rest.size);
    return newline == NULL ? rest.size : (size_t)(newline - rest.data) + 1;
}

static struct entry take(struct text *rest)
{
    struct entry entry = {{rest->data, 0}, {rest->data, 0}};
    if (rest->size == 0)
        return entry;
    while (entry.key.size < rest->size && rest->data[entry.key.size] != ':' &&
           rest->data[entry.key.size] != '\n')
        entry.key.size++;
    do {
        size_t size = line_size(*rest);
        entry.lines.size += size;
        *rest = (struct text){rest->data + size, rest->size - size};
    } while (rest->size > 0 && (rest->data[0] == ' ' || rest->data[0] == '-'));
    return entry;
}

/* As bytes sort; what has ended comes last. */
static int compare(struct text a, struct text b)
{
    size_t size = MIN(a.size, b.size);
    if (a.size == 0 || b.size == 0)
        return (a.size == 0) - (b.size == 0);
    int order = memcmp(a.data, b.data, size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

enum err fork_keys_compare(struct span before, struct span after, fork_keys_changed_f changed,
                           void *context)
{
    struct text left = {(const char *)before.data, before.size};
    struct text right = {(const char *)after.data, after.size};
    struct entry a = take(&left), b = take(&right);
    while (a.key.size > 0 || b.key.size > 0) {
        int order = compare(a.key, b.key);
        if (order != 0 || !text_equal(a.lines, b.lines))
            TRY(changed(context, order <= 0 ? a.key : b.key));
        struct entry next_a = order <= 0 ? take(&left) : a;
        b = order >= 0 ? take(&right) : b;
        a = next_a;
    }
    return ERR_OK;
}
