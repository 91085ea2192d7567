/* task_export.h - what the results of a training run share while they are written. Internal to
 * task.
 *
 * task_export.c opens the run and writes what every result has: the tokenizer's files and
 * trainer_state.json. Each kind of result has a file of its own, task_export_<result>.c, which
 * adds the files of that kind to run->result.
 */
#ifndef WORKER_TASK_TASK_EXPORT_H
#define WORKER_TASK_TASK_EXPORT_H

#include "common/formats/hf/trainer_log.h"
#include "common/formats/peft/peft_card.h"
#include "common/formats/safetensors/safetensors.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "worker/engine/train/train_layout.h"
#include "worker/task/task_run.h"

struct task_qat;

struct task_export {
    struct task_run *run;        /* borrowed */
    const char *folder;          /* before the names of its files: "" or "adapter/" */
    const struct model *model;   /* borrowed from the worker's cache of models */
    struct train_config config;  /* what trained */
    struct train_layout *layout; /* owned */
    float *values;               /* owned; of the layout, after the last step */
    float *anchor;               /* owned; what adapters started from, or NULL */
    struct trainer_log log;
    struct arena arena; /* names, and an adapter once more: as large as what trains */
};

/* Opens the model, the layout and the input "state". Errors of those, with the place in `et`. */
MUST_CHECK enum err task_export_open(struct task_export *x, struct err_text *et);
void task_export_close(struct task_export *x);

/* Adds `content` as the file `name`. Errors of task_run_output. */
MUST_CHECK enum err task_export_put_span(struct task_export *x, const char *name,
                                         struct span content, struct err_text *et);

/* Adds `text` as the file `name` and empties it; `printed` is what writing it came to.
 * Errors: `printed`, ERR_OUT_OF_MEMORY, those of task_run_output. */
MUST_CHECK enum err task_export_put(struct task_export *x, const char *name, enum err printed,
                                    struct bytes *text, struct err_text *et);

/* `count` entries as tensors of their names over `values`; of the arena, NULL without memory. */
struct safetensor *task_export_list_tensors(struct task_export *x,
                                            const struct train_entry *entries, size_t count,
                                            const float *values);

/* Title, data sets and facts of an adapter's card; of the arena. ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err task_export_fill_card(struct task_export *x, struct peft_card *card);
/* The tokenizer's files as the model has them; but a chat template that the recipe chose is written
 * in place of the model's, since whoever loads the result has to ask with it. */
MUST_CHECK enum err task_export_tokenizer(struct task_export *x, struct err_text *et);

/* generation_config.json: the model's own, or made from its tokens. */
MUST_CHECK enum err task_export_generation(struct task_export *x, struct err_text *et);

/* The files of one kind of result. Errors: ERR_OUT_OF_MEMORY, those of reading the model's own
 * files, with the place in `et`. */
MUST_CHECK enum err task_export_adapter(struct task_export *x, struct err_text *et);
MUST_CHECK enum err task_export_insert(struct task_export *x, struct err_text *et);
MUST_CHECK enum err task_export_model(struct task_export *x, struct err_text *et);
MUST_CHECK enum err task_export_quantized(struct task_export *x, const struct task_qat *qat,
                                          struct err_text *et);

#endif
