/* task_folder.h - the result as a model folder: the tensors of all quantize tasks in place of the
 * weights they came from. Internal to task. */
#ifndef WORKER_TASK_TASK_FOLDER_H
#define WORKER_TASK_TASK_FOLDER_H

#include "common/formats/quantized_folder/quantized_folder.h"
#include "worker/task/task_run.h"
#include "worker/task/task_scheme.h"

/* Hands in every file of the folder. ERR_FORMAT: two tasks made one tensor; errors of the base's
 * files. */
MUST_CHECK enum err task_folder_assemble(struct task_run *run, struct err_text *et);

/* Makes file `index` of a planned folder in the folder `scratch`, and hands it in. Errors of
 * quantized_folder_send, of the file and of task_run_output. */
MUST_CHECK enum err task_folder_put(struct task_run *run, const struct quantized_folder *plan,
                                    size_t index, const char *scratch, struct arena *arena,
                                    struct err_text *et);

#endif
