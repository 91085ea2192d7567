/* task_gguf.h - the GGUF form of a job's model, as its recipe and choices want it. Internal to
 * task. */
#ifndef WORKER_TASK_TASK_GGUF_H
#define WORKER_TASK_TASK_GGUF_H

#include "common/formats/convert/convert_gguf.h"
#include "worker/task/task_choices.h"

enum { TASK_GGUF_EXCEPTIONS_MAX = 64 };

/* Refers to itself: stays where it was opened. */
struct task_gguf {
    struct convert_gguf *form; /* owned */
    struct convert_quantize quantize;
    struct convert_model_options options;
    struct convert_exception exceptions[TASK_GGUF_EXCEPTIONS_MAX];
    struct imatrix importance; /* owned */
    struct arena arena;        /* owned */
};

/* Opens the model of the run, towards GGUF: with `choices` as they say, else (NULL) by the recipe's
 * scheme, switches and exceptions. The importance is the input "imatrix" or imatrix/<file>, where
 * the method asks for one. ERR_RECIPE: a scheme, type or pattern that there is not; errors of
 * convert_gguf_open. Close also after an error. */
MUST_CHECK enum err task_gguf_open(struct task_run *run, const struct task_choices *choices,
                                   struct task_gguf *gguf, struct err_text *et);
void task_gguf_close(struct task_gguf *gguf);

/* "lm-6m-Q4_K_M.gguf": the base's name and the scheme's, in `arena`. NULL when memory is out. */
const char *task_gguf_file_name(const struct recipe *recipe, struct text scheme,
                                struct arena *arena);

/* Whether the names of scheme and types in the recipe are names of some. ERR_RECIPE. */
MUST_CHECK enum err task_gguf_check(const struct recipe *recipe, struct err_text *et);

#endif
