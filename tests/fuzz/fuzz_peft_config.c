/* fuzz_peft_config.c - what is accepted prints as a config that prints the same again. */
#include "common/base/check.h"
#include "common/formats/peft/peft_config.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct bytes once;
    struct bytes twice;
    struct err_text et;
    struct peft_config c;
    arena_init(&arena, 16 << 20);
    bytes_init(&once, 16 << 20);
    bytes_init(&twice, 16 << 20);
    if (peft_config_parse(&c, (struct span){data, size}, "fuzz", &arena, &et) == ERR_OK) {
        enum err err = peft_config_print(&c, &once);
        ASSERT(err == ERR_OK);
        struct peft_config again;
        err = peft_config_parse(&again, bytes_span(&once), "again", &arena, &et);
        ASSERT(err == ERR_OK);
        err = peft_config_print(&again, &twice);
        ASSERT(err == ERR_OK && span_equal(bytes_span(&once), bytes_span(&twice)));
    }
    bytes_fini(&twice);
    bytes_fini(&once);
    arena_fini(&arena);
    return 0;
}
