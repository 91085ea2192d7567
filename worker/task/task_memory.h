/* task_memory.h - how much memory of its own a task of a kind takes, before there is one: by the
 * engine's own plans, of whoever asks. For this folder, and for who checks a recipe before it is
 * submitted.
 *
 * What is counted: the process at rest; weights that are made when the base is opened; the most
 * that the task holds at once. What is mapped from files (the base, inputs) is not: the system
 * takes those pages back when it is short of memory, and reads them again. The recipe's text and
 * rows of data are small beside the rest and come with the process.
 *
 * All figures are for one row, one tensor or one layer at a time, and with a round's rows all given
 * to one worker: one that has less cannot do it at all.
 */
#ifndef WORKER_TASK_TASK_MEMORY_H
#define WORKER_TASK_TASK_MEMORY_H

#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "worker/engine/nn/model.h"
#include "worker/engine/train/train_layout.h"

/* Program, libraries, threads and their working memory, a tokenizer. */
#define TASK_MEMORY_PROCESS_BYTES (UINT64_C(40) << 20)

/* Of `model` as its files have it, under a recipe whose variant is chosen; 0 for kinds that stay
 * within the process. UINT64_MAX: more than can be addressed. Errors of train_layout_create,
 * task_qat_read, task_scheme_read; ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err task_memory_of(const struct recipe *recipe, const struct model *model,
                                   enum stage_kind kind, uint64_t *bytes, struct err_text *et);

/* Weights that are made when the base is opened as tasks of the kind see it. */
uint64_t task_memory_made(const struct recipe *recipe, const struct model *model,
                          enum stage_kind kind);

/* What a session (task_session.h) holds that has run `rows_at_once` rows forward and, with a
 * layout, backward, with the sums of a round's gradients. `layout` NULL: the untouched model. */
uint64_t task_memory_session(const struct recipe *recipe, const struct model *model,
                             const struct train_layout *layout, uint64_t codes_bytes,
                             size_t rows_at_once);

/* Part of task_memory_of: kinds that quantize. */
MUST_CHECK enum err task_memory_quantize(const struct recipe *recipe, const struct model *model,
                                         enum stage_kind kind, uint64_t *bytes,
                                         struct err_text *et);

/* Sum and product, UINT64_MAX where there is none. */
uint64_t task_memory_add(uint64_t a, uint64_t b);
uint64_t task_memory_times(uint64_t a, uint64_t b);

#endif
