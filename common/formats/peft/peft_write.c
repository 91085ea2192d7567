/* peft_write.c - three files. */
#include "common/formats/peft/peft_write.h"

#include "common/formats/peft/peft_adapter.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"

enum { CARD_BYTES_MAX = 16 << 20, PATHS_BYTES_MAX = 1 << 16 };

static struct safetensors_content weights_of(const struct peft_content *content)
{
    return (struct safetensors_content){content->tensors, content->tensor_count,
                                        &safetensors_write_note_pt, 1};
}

enum err peft_write_weights(const struct peft_content *content, file_sink_f sink, void *context)
{
    const struct safetensors_content weights = weights_of(content);
    return safetensors_write(&weights, sink, context);
}

static enum err write_text(const char *path, const struct bytes *text, enum err printed,
                           struct err_text *et)
{
    if (printed != ERR_OK)
        return error_set(et, printed, "%s: cannot be written: %s", path, error_text(printed));
    return file_write_atomic(path, bytes_span(text), et);
}

enum err peft_write_folder(const char *folder, const struct peft_content *content,
                           struct err_text *et)
{
    struct arena arena;
    struct bytes text;
    arena_init(&arena, PATHS_BYTES_MAX);
    bytes_init(&text, CARD_BYTES_MAX);
    const char *weights = folder_join(&arena, folder, PEFT_ADAPTER_WEIGHTS_FILE);
    const char *card = folder_join(&arena, folder, PEFT_ADAPTER_CARD_FILE);
    const char *config = folder_join(&arena, folder, PEFT_ADAPTER_CONFIG_FILE);
    const struct safetensors_content tensors = weights_of(content);
    enum err err = ERR_OUT_OF_MEMORY;
    if (weights == NULL || card == NULL || config == NULL) {
        (void)error_set(et, err, "%s: out of memory", folder);
        goto out;
    }
    TRY_OUT(folder_create(folder, et));
    TRY_OUT(safetensors_write_file(&tensors, weights, et));
    TRY_OUT(write_text(card, &text, peft_card_print(content->card, &text), et));
    bytes_clear(&text);
    TRY_OUT(write_text(config, &text, peft_config_print(content->config, &text), et));
out:
    bytes_fini(&text);
    arena_fini(&arena);
    return err;
}
