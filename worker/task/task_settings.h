/* task_settings.h - from the words of a recipe to the settings of engine and formats: the one place
 * that knows both. For this folder, and for who checks a recipe before it is submitted.
 */
#ifndef WORKER_TASK_TASK_SETTINGS_H
#define WORKER_TASK_TASK_SETTINGS_H

#include "common/formats/dataset/dataset.h"
#include "common/formats/dataset/dataset_pack.h"
#include "common/formats/dataset/windows.h"
#include "common/formats/peft/peft_config.h"
#include "common/formats/tokenizer/chat_template.h"
#include "common/recipe/recipe.h"
#include "worker/engine/nn/model_load.h"
#include "worker/engine/train/train.h"
#include "worker/engine/train/train_layout.h"

/* What trains. Texts are borrowed from the recipe; `all_linear` is storage for one target. */
void task_settings_train(const struct recipe *recipe, struct train_config *out);

/* In how many bits the base is while it is trained on. The kernel encodes it; NULL: the caller's
 * thread. */
struct model_load task_settings_load(const struct recipe *recipe, struct kernel *kernel);

/* How rows run. `quant` is borrowed, or NULL. */
struct train_options task_settings_rows(const struct recipe *recipe, const struct fake_quant *quant,
                                        size_t rows_at_once);

/* How the file of an input named data/<i>/<file>, test/<i>/<file> or calib/<i>/<file> is read.
 * ERR_DATA: the name is of another form, or the recipe has no such entry. */
MUST_CHECK enum err task_settings_dataset(const struct recipe *recipe, const char *input_name,
                                          struct dataset_options *out, struct err_text *et);

struct dataset_pack_options task_settings_pack(const struct recipe *recipe);

/* The protocol under which the text of such an input becomes rows; ROWS: samples, as training has
 * them. */
enum perplexity_protocol task_settings_protocol(const struct recipe *recipe,
                                                const char *input_name);

/* How streams of test text and of calibration text are cut. */
struct windows_options task_settings_test(const struct recipe *recipe);
struct windows_options task_settings_calibration(const struct recipe *recipe);

/* What calibration keeps of every input, bits of enum statistics_kind. */
unsigned task_settings_statistics(const struct recipe *recipe);

/* Name of the base model as the result names it: base_model_name, or else of base_model a hub's
 * "owner/name" as it is and a path by its last component. Borrowed from the recipe. */
struct text task_settings_base_model(const struct recipe *recipe);

/* The chat template that the recipe chose instead of the model's own, NULL when it chose none: what
 * is trained with it has to carry it. */
const struct chat_template *task_settings_template(const struct recipe *recipe);

#endif
