/* task_export_quantized.h - what the two forms of a quantized result share while they are written.
 * Internal to task.
 *
 * The fake quantizer's last codes are the result: nothing is quantized here. task_export_gguf.c
 * moves them into a GGUF file, task_export_folder.c into a folder of safetensors.
 */
#ifndef WORKER_TASK_TASK_EXPORT_QUANTIZED_H
#define WORKER_TASK_TASK_EXPORT_QUANTIZED_H

#include "common/formats/safetensors/safetensors.h"
#include "common/formats/source/file.h"
#include "worker/task/task_export.h"
#include "worker/task/task_qat.h"

struct task_export_quantized {
    struct task_export *x;
    struct task_qat qat;
    struct fake_quant *quant; /* owned; codes of the last values */
};

/* The tensor of a parameter that is not quantized: its trained values, or what the base has. Data
 * is borrowed from the values or the model. */
struct safetensor task_export_quantized_plain(const struct task_export_quantized *q, size_t param);

/* Through a file, which is mapped when it is handed in: a result may be larger than memory. `send`
 * writes the content of output `name` to the sink. Errors of both. */
typedef enum err (*task_export_quantized_send_f)(void *context, file_sink_f sink,
                                                 void *sink_context, struct err_text *et);
MUST_CHECK enum err task_export_quantized_file(struct task_export_quantized *q, const char *name,
                                               task_export_quantized_send_f send, void *context,
                                               struct err_text *et);

/* The GGUF file: codes of a GGUF type as they are, everything else in its own type. */
MUST_CHECK enum err task_export_quantized_gguf(struct task_export_quantized *q,
                                               struct err_text *et);

/* The folder: config.json, generation_config.json, shards. */
MUST_CHECK enum err task_export_quantized_folder(struct task_export_quantized *q,
                                                 struct err_text *et);

#endif
