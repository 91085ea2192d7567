/* fuzz_provider.c - whatever an engine prints, what comes out of it is a valid id and plain text.
 */
#include <string.h>

#include "common/base/check.h"
#include "coordinator/provider/provider.h"
#include "tests/fuzz/fuzz.h"

static void check_seen(void *context, const struct provider_allocation *allocation)
{
    size_t *count = context;
    size_t size = strlen(allocation->detail);
    ASSERT(provider_id_is_valid(text_of(allocation->id)));
    ASSERT(allocation->state <= PROVIDER_FAILED);
    for (size_t i = 0; i < size; i++)
        ASSERT(allocation->detail[i] >= ' ' && allocation->detail[i] < 127);
    ++*count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct text output = {(const char *)data, size};
    for (int kind = PROVIDER_LOCAL; kind <= PROVIDER_KUBERNETES; kind++) {
        size_t count = 0;
        size_t strange = provider_parse_start((enum provider_kind)kind, output, check_seen, &count);
        strange += provider_parse_status((enum provider_kind)kind, output, check_seen, &count);
        ASSERT(strange <= 2 * size);
    }
    return 0;
}
