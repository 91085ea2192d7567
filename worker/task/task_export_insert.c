/* task_export_insert.c - a tuned prompt as PEFT's folder, bottleneck adapters as one of our own. */
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_write.h"
#include "worker/task/task_export.h"
#include "worker/task/task_insert.h"
#include "worker/task/task_settings.h"

enum err task_export_insert(struct task_export *x, struct err_text *et)
{
    const struct recipe *recipe = &x->run->recipe;
    struct peft_insert_config config = task_insert_describe(x->model, &x->config);
    struct peft_content content = {.tensor_count = train_layout_entry_count(x->layout)};
    struct peft_card card = {.insert = &config};
    struct bytes text;
    config.base_model = task_settings_base_model(recipe);
    if (recipe->model_revision != NULL)
        config.revision = text_of(recipe->model_revision);
    content.tensors = task_export_list_tensors(x, train_layout_entry(x->layout, 0),
                                               content.tensor_count, x->values);
    if (content.tensors == NULL)
        return ERR_OUT_OF_MEMORY;
    TRY(task_export_fill_card(x, &card));
    bytes_init(&text, SIZE_MAX);
    enum err err = ERR_OK;
    TRY_OUT(task_export_put(x, PEFT_ADAPTER_WEIGHTS_FILE,
                            peft_write_weights(&content, file_sink_bytes, &text), &text, et));
    TRY_OUT(
        task_export_put(x, PEFT_ADAPTER_CONFIG_FILE, peft_insert_print(&config, &text), &text, et));
    TRY_OUT(task_export_put(x, PEFT_ADAPTER_CARD_FILE, peft_card_print(&card, &text), &text, et));
out:
    bytes_fini(&text);
    return err;
}
