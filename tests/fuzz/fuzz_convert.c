/* fuzz_convert.c - a GGUF file that is accepted as a model has a plan for each tensor of its
 * folder, and of another file; each tensor sends as many bytes as its plan says. */
#include "common/base/check.h"
#include "common/formats/convert/convert_plan.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

enum { MEMORY_A_BYTE = 64, MEMORY_FIXED = 1 << 16 };

static enum err count_bytes(void *context, struct span piece)
{
    uint64_t *sent = context;
    *sent += piece.size;
    return ERR_OK;
}

static void send_plan(const struct convert_plan *plan, const struct arena *arena, size_t size)
{
    ASSERT(arena->used_bytes <= MEMORY_FIXED + MEMORY_A_BYTE * size);
    for (size_t i = 0; i < plan->count; i++) {
        uint64_t sent = 0;
        enum err err = convert_tensor_write(&plan->tensors[i], count_bytes, &sent);
        ASSERT(err == ERR_OK && sent == convert_tensor_size_bytes(&plan->tensors[i]));
    }
}

static void check_plan(const struct gguf *gguf, const struct hf_config *config, size_t size)
{
    static const enum block_format formats[] = {CONVERT_PLAN_KEEP, BLOCK_FORMAT_F32,
                                                BLOCK_FORMAT_F16};
    for (size_t f = 0; f < COUNT_OF(formats); f++) {
        struct convert_plan plan;
        enum block_format main_format;
        struct arena arena;
        struct err_text et;
        arena_init(&arena, SIZE_MAX);
        if (convert_plan_hf(gguf, config, formats[f], NULL, &arena, &plan, &main_format, &et) ==
            ERR_OK)
            send_plan(&plan, &arena, size);
        arena_reset(&arena);
        if (convert_plan_again(gguf, config, formats[f], NULL, &arena, &plan, &et) == ERR_OK)
            send_plan(&plan, &arena, size);
        arena_fini(&arena);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hf_config config; /* large for a stack */
    struct gguf gguf;
    struct err_text et;
    if (gguf_parse(&gguf, (struct span){data, size}, "fuzz", &et) != ERR_OK)
        return 0;
    if (gguf_config_read(&gguf, &config, &et) == ERR_OK)
        check_plan(&gguf, &config, size);
    gguf_close(&gguf);
    return 0;
}
