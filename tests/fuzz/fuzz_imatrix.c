/* fuzz_imatrix.c - what is accepted is found by name, costs a fixed multiple of the input, is
 * written and read again the same. */
#include "common/base/check.h"
#include "common/formats/imatrix/imatrix.h"
#include "tests/fuzz/fuzz.h"

enum { MEMORY_A_BYTE = 16, MEMORY_FIXED = 1 << 17 };

static void check_rewritten(const struct imatrix *m, enum imatrix_form form)
{
    struct imatrix again;
    struct bytes out;
    bytes_init(&out, 64 << 20);
    enum err err = imatrix_write(m, form, file_sink_bytes, &out);
    ASSERT(err == ERR_OK || err == ERR_UNSUPPORTED || err == ERR_LIMIT);
    if (err == ERR_OK) {
        err = imatrix_parse(&again, bytes_span(&out), "again", NULL);
        /* Calls made of tokens may pass the range of sums. */
        ASSERT(err == ERR_OK || (form == IMATRIX_LEGACY && m->chunk_size != 0));
        if (err == ERR_OK) {
            ASSERT(again.count == m->count);
            for (size_t i = 0; i < m->count; i++)
                ASSERT(text_equal(again.entries[i].name, m->entries[i].name));
            imatrix_close(&again);
        }
    }
    bytes_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct imatrix m;
    struct err_text et;
    if (imatrix_parse(&m, (struct span){data, size}, "fuzz", &et) != ERR_OK)
        return 0;
    ASSERT(m.arena.used_bytes <= MEMORY_FIXED + MEMORY_A_BYTE * size);
    for (size_t i = 0; i < m.count; i++) {
        const struct imatrix_entry *e = &m.entries[i];
        ASSERT(imatrix_find(&m, e->name) == e);
        ASSERT(e->columns * e->matrices * sizeof(float) <= size);
    }
    check_rewritten(&m, IMATRIX_LEGACY);
    check_rewritten(&m, IMATRIX_GGUF);
    imatrix_close(&m);
    return 0;
}
