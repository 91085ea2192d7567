/* fuzz_events.c - what is accepted is made of records that are written the same again, and its
 * values lie within: of the input as a file, and as the payload of one record. */
#include "common/base/check.h"
#include "common/formats/tensorboard/event_file.h"
#include "common/formats/tensorboard/event_reader.h"
#include "tests/fuzz/fuzz.h"

static void check_values(struct span summary)
{
    struct event_reader_value value;
    volatile double sum = 0;
    while (event_reader_value(&summary, &value)) {
        for (size_t i = 0; i < value.tag.size; i++)
            sum += value.tag.data[i];
        for (size_t i = 0; i < value.counts.size / sizeof(double); i++)
            sum += event_reader_f64(value.limits, i) + event_reader_f64(value.counts, i);
    }
    ASSERT(summary.size == 0);
}

static void check_file(struct span file)
{
    struct event_reader reader = event_reader_of(file);
    struct event_reader_event event;
    enum err err;
    bool is_end = false;
    do {
        size_t before = reader.good_bytes;
        err = event_reader_next(&reader, &event, &is_end, NULL);
        if (err != ERR_OK || is_end)
            break;
        check_values(event.summary);
        size_t size = reader.good_bytes - before;
        struct bytes again;
        bytes_init(&again, size);
        event_file_record((struct span){file.data + before + EVENT_FILE_HEAD_BYTES,
                                        size - EVENT_FILE_HEAD_BYTES - sizeof(uint32_t)},
                          &again);
        ASSERT(span_equal(bytes_span(&again), (struct span){file.data + before, size}));
        bytes_fini(&again);
    } while (true);
    ASSERT(reader.good_bytes <= file.size);
    ASSERT(err != ERR_OK || reader.is_torn == (reader.good_bytes < file.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes file;
    check_file((struct span){data, size});
    bytes_init(&file, size + EVENT_FILE_HEAD_BYTES + sizeof(uint32_t));
    event_file_record((struct span){data, size}, &file);
    check_file(bytes_span(&file));
    bytes_fini(&file);
    return 0;
}
