/* fuzz_safetensors.c - what is accepted lies within the input and can be written and read again. */
#include "common/base/check.h"
#include "common/formats/safetensors/safetensors_write.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors st;
    struct err_text et;
    if (safetensors_parse(&st, (struct span){data, size}, "fuzz", &et) != ERR_OK)
        return 0;
    size_t total = 0;
    for (size_t i = 0; i < st.count; i++) {
        const struct safetensor *t = &st.tensors[i];
        ASSERT(t->data.data >= data && t->data.data + t->data.size <= data + size);
        ASSERT(safetensors_find(&st, t->name) == t);
        total += t->data.size;
    }
    ASSERT(total < size);
    const struct safetensors_content content = {st.tensors, st.count, st.notes, st.note_count};
    struct bytes out;
    bytes_init(&out, 64 << 20);
    enum err err = safetensors_write(&content, file_sink_bytes, &out);
    ASSERT(err == ERR_OK);
    struct safetensors again;
    err = safetensors_parse(&again, bytes_span(&out), "again", &et);
    ASSERT(err == ERR_OK);
    ASSERT(again.count == st.count && again.note_count == st.note_count);
    for (size_t i = 0; i < st.count; i++)
        ASSERT(span_equal(again.tensors[i].data, st.tensors[i].data));
    safetensors_close(&again);
    bytes_fini(&out);
    safetensors_close(&st);
    return 0;
}
