/* task_state.c - safetensors in, vector out, and back. */
#include "worker/task/task_state.h"

#include <string.h>

#include "common/formats/safetensors/safetensors.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "common/mem/arena.h"
#include "schemas/state_file.def"

enum { NAMES_BYTES = 256 << 20 };

static bool shape_is(const struct safetensor *tensor, const struct train_entry *entry)
{
    if (tensor->dtype != SAFETENSORS_F32 || tensor->rank != entry->dimensions)
        return false;
    for (size_t i = 0; i < entry->dimensions; i++)
        if (tensor->shape[i] != entry->shape[i])
            return false;
    return true;
}

enum err task_state_read(struct span content, const char *name, const struct train_layout *layout,
                         struct kernel *kernel, float *values, struct err_text *et)
{
    struct safetensors file;
    struct arena arena;
    TRY(safetensors_parse(&file, content, name, et));
    arena_init(&arena, NAMES_BYTES);
    enum err err = ERR_OK;
    for (size_t i = 0; i < train_layout_entry_count(layout); i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        const char *key = arena_print(&arena, STATE_FILE_WEIGHT "%s", entry->name);
        if (key == NULL) {
            err = ERR_OUT_OF_MEMORY;
            goto out;
        }
        const struct safetensor *tensor = safetensors_find(&file, text_of(key));
        if (tensor == NULL || !shape_is(tensor, entry)) {
            err =
                error_set(et, ERR_SHAPE, "%s: tensor \"%s\" is %s", name, key,
                          tensor == NULL ? "missing" : "not of the shape that the model asks for");
            goto out;
        }
        if (kernel != NULL)
            kernel_write(kernel, entry->count, (const float *)(const void *)tensor->data.data,
                         values + entry->offset);
        else
            memcpy(values + entry->offset, tensor->data.data, tensor->data.size);
    }
out:
    arena_fini(&arena);
    safetensors_close(&file);
    return err;
}

enum err task_state_write(const struct train_layout *layout, const float *values, struct bytes *out)
{
    static const struct safetensors_note notes[] = {
        {{"format", 6}, {STATE_FILE_FORMAT, sizeof STATE_FILE_FORMAT - 1}},
        {{STATE_FILE_STEP, sizeof STATE_FILE_STEP - 1}, {"0", 1}},
    };
    struct arena arena;
    arena_init(&arena, NAMES_BYTES);
    enum err err = ERR_OK;
    size_t count = train_layout_entry_count(layout);
    struct safetensor *tensors = arena_alloc(&arena, count, sizeof *tensors);
    if (tensors == NULL) {
        err = ERR_OUT_OF_MEMORY;
        goto out;
    }
    for (size_t i = 0; i < count; i++) {
        const struct train_entry *entry = train_layout_entry(layout, i);
        const char *key = arena_print(&arena, STATE_FILE_WEIGHT "%s", entry->name);
        if (key == NULL) {
            err = ERR_OUT_OF_MEMORY;
            goto out;
        }
        tensors[i] = (struct safetensor){
            .name = text_of(key),
            .dtype = SAFETENSORS_F32,
            .rank = (uint32_t)entry->dimensions,
            .shape = {entry->shape[0], entry->shape[1]},
            .data = {(const uint8_t *)(values + entry->offset), entry->count * sizeof *values},
        };
    }
    const struct safetensors_content content = {
        .tensors = tensors, .count = count, .notes = notes, .note_count = 2};
    err = safetensors_write(&content, file_sink_bytes, out);
out:
    arena_fini(&arena);
    return err;
}
