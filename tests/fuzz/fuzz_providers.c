/* fuzz_providers.c - whatever file of providers is accepted says how many workers, within bounds,
 * and holds nothing that could be taken for an option. */
#include <string.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/recipe/providers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct providers providers;
    struct err_text et;
    if (providers_read((struct span){data, size}, "fuzz.yml", 4, &providers, &et) != ERR_OK)
        return 0;
    ASSERT(providers.count <= LIMIT_PROVIDERS);
    for (size_t i = 0; i < providers.count; i++) {
        const struct provider_config *row = &providers.rows[i];
        uint64_t target = 0;
        ASSERT(row->max >= 1 && row->max <= LIMIT_WORKERS && row->min <= row->max);
        ASSERT(row->workers_per_allocation >= 1 && row->workers_per_allocation <= row->max);
        ASSERT(!providers_is_fixed(row, &target) || target <= row->max);
        ASSERT(row->name[0] != '\0' && row->name[0] != '-' && strlen(row->name) <= 32);
        ASSERT(row->program == NULL || row->program[0] != '-');
        ASSERT(providers_find(&providers, text_of(row->name)) == row);
        for (size_t h = 0; h < row->hosts_count; h++)
            ASSERT(row->hosts[h][0] != '-');
    }
    providers_fini(&providers);
    return 0;
}
