/* fuzz_state.c - a training state that is accepted is written and read again to the same bytes. */
#include "common/base/check.h"
#include "coordinator/aggregate/aggregate.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct aggregate_settings settings = {.adamw = {0.9, 0.999, 1e-8, 0.0}};
    struct aggregate *a = NULL;
    struct aggregate *b = NULL;
    struct err_text et;
    struct bytes first;
    struct bytes second;
    if (aggregate_create(&settings, (struct span){data, size}, &a, &et) != ERR_OK)
        return 0;
    bytes_init(&first, 64 << 20);
    bytes_init(&second, 64 << 20);
    enum err err = aggregate_write_state(a, &first);
    ASSERT(err == ERR_OK);
    err = aggregate_create(&settings, bytes_span(&first), &b, &et);
    ASSERT(err == ERR_OK);
    ASSERT(aggregate_steps(a) == aggregate_steps(b) && aggregate_width(a) == aggregate_width(b));
    err = aggregate_write_state(b, &second);
    ASSERT(err == ERR_OK);
    ASSERT(span_equal(bytes_span(&first), bytes_span(&second)));
    aggregate_destroy(&a);
    aggregate_destroy(&b);
    bytes_fini(&first);
    bytes_fini(&second);
    return 0;
}
