/* task_model.h - the model of a job, open for as long as tasks of the job come, and beside it what
 * was made of it. Internal to task.
 *
 * Inputs named model/<file> become a folder of links, which the readers of model and tokenizer
 * open; or the GGUF file among them, where there is one. Keyed by the digests of these inputs and
 * of the recipe; of a recipe with lists all variants have the same.
 */
#ifndef WORKER_TASK_TASK_MODEL_H
#define WORKER_TASK_TASK_MODEL_H

#include "common/formats/tokenizer/tokenizer.h"
#include "common/message/state.h"
#include "worker/cache/cache.h"
#include "worker/engine/nn/model.h"

struct task_run;

/* Beside a quantized model in its folder; it is no model. */
#define TASK_MODEL_IMATRIX "imatrix.gguf"

/* Which of the models that a worker holds open. */
enum task_model_role {
    TASK_MODEL_BASE,   /* inputs model/...; without weights (random_init) made from the config */
    TASK_MODEL_RESULT, /* inputs result/...: what the job made of it; closed with the base */
    TASK_MODEL_ROLE_COUNT,
};

struct task_model {
    struct digest key;               /* zero: nothing is open */
    const struct cache_item **items; /* owned; held open */
    size_t item_count;
    char *folder;                /* owned: the view */
    char *path;                  /* owned: what is opened, the folder or a file in it */
    struct model *model;         /* owned; opened when first asked for, as training sees it */
    struct model *stored;        /* owned; likewise, as its files have it */
    struct tokenizer *tokenizer; /* owned; likewise */
};

void task_model_close(struct task_model *model, struct cache *cache);

/* A folder with the inputs below `prefix` ("model/") under their file names; `items` are held until
 * task_model_drop_view. */
MUST_CHECK enum err task_model_view(struct task_run *run, const char *prefix,
                                    const struct cache_item ***items, size_t *item_count,
                                    char **folder, struct err_text *et);
void task_model_drop_view(struct cache *cache, const struct cache_item ***items, size_t *item_count,
                          char **folder);

/* Of the run's job; borrowed until another job's task comes. The model's files lie in the folder;
 * is_file: they are GGUF files, which hold all there is; path: the folder, or the file to open. */
MUST_CHECK enum err task_model_folder(struct task_run *run, const char **out, struct err_text *et);
MUST_CHECK enum err task_model_is_file(struct task_run *run, bool *out, struct err_text *et);
MUST_CHECK enum err task_model_path(struct task_run *run, const char **out, struct err_text *et);
/* The model as the run's stage is to see it. Where the recipe asks for four or eight bits, training
 * and what goes with it (sees_loaded) see those; quantizing sees what the files hold, as
 * open_stored does. */
bool task_model_sees_loaded(enum stage_kind kind);
MUST_CHECK enum err task_model_open(struct task_run *run, const struct model **out,
                                    struct err_text *et);
MUST_CHECK enum err task_model_open_stored(struct task_run *run, const struct model **out,
                                           struct err_text *et);
MUST_CHECK enum err task_model_open_result(struct task_run *run, const struct model **out,
                                           struct err_text *et);
MUST_CHECK enum err task_model_tokenizer(struct task_run *run, const struct tokenizer **out,
                                         struct err_text *et);

#endif
