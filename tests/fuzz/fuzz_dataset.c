/* fuzz_dataset.c - any file is reported on; cut anywhere, its rows stay the same number. */
#include "common/base/check.h"
#include "common/formats/dataset/dataset_check.h"
#include "common/formats/dataset/dataset_reader.h"
#include "tests/fuzz/fuzz.h"

static uint64_t count_rows(struct span file, enum dataset_format format, uint64_t begin,
                           uint64_t end)
{
    struct dataset_reader reader;
    struct text row;
    struct err_text et;
    uint64_t count = 0;
    bool found = true;
    dataset_reader_init(&reader, file, "fuzz", format, begin, end);
    while (found && dataset_reader_next(&reader, &row, &found, &et) == ERR_OK) {
        ASSERT(!found || ((const uint8_t *)row.data >= file.data &&
                          (const uint8_t *)row.data + row.size <= file.data + file.size));
        count += found;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"fuzz.jsonl", "fuzz.json", "fuzz.txt", "fuzz"};
    struct dataset_report report;
    struct err_text et;
    struct span file = {data, size};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct dataset_options options = {.file_name = names[i], .sequence_len = 16};
        enum err err = dataset_check(file, &options, NULL, &report, &et);
        ASSERT(err != ERR_INTERNAL);
    }
    uint64_t all = count_rows(file, DATASET_FORMAT_JSONL, 0, size);
    uint64_t cut = size == 0 ? 0 : data[0] % size;
    ASSERT(count_rows(file, DATASET_FORMAT_JSONL, 0, cut) +
               count_rows(file, DATASET_FORMAT_JSONL, cut, size) ==
           all);
    return 0;
}
