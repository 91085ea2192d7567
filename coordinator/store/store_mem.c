/* store_mem.c - the log as one buffer of envelopes and the offsets of their ends. */
#include "coordinator/store/store_mem.h"

#include "common/base/check.h"
#include "common/mem/mem.h"
#include "coordinator/store/envelope.h"

enum { LOG_BYTES_MAX = 1 << 30 };

struct store_mem {
    struct store base;
    struct bytes log;  /* owned: envelopes, one after the other */
    struct bytes ends; /* owned: size_t of each record */
    struct digest link;
    size_t fail_after;
};

static struct store_mem *mem_of(struct store *store)
{
    return (struct store_mem *)(void *)store;
}

static size_t count_of(const struct store_mem *m)
{
    return m->ends.size / sizeof(size_t);
}

static size_t end_of(const struct store_mem *m, size_t index)
{
    size_t end;
    memcpy(&end, m->ends.data + index * sizeof end, sizeof end);
    return end;
}

static enum err store_mem_append(struct store *store, const struct store_record *records,
                                 size_t count, struct err_text *et)
{
    struct store_mem *m = mem_of(store);
    if (m->fail_after > 0 && --m->fail_after == 0)
        return error_set(et, ERR_DISK_FULL, "the test's disk is full");
    size_t log_size = m->log.size;
    size_t ends_size = m->ends.size;
    struct digest link = m->link;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = envelope_write(&records[i], &link, &m->log);
        bytes_append(&m->ends, &m->log.size, sizeof m->log.size);
        if (err == ERR_OK)
            err = bytes_status(&m->ends);
    }
    if (err != ERR_OK) {
        m->log.size = log_size;
        m->ends.size = ends_size;
        return error_set(et, err, "the memory store: %s", error_text(err));
    }
    m->link = link;
    return ERR_OK;
}

static enum err store_mem_read(struct store *store, uint64_t after, store_visit_f visit,
                               void *context, struct err_text *et)
{
    struct store_mem *m = mem_of(store);
    struct digest link = envelope_genesis();
    size_t begin = 0;
    for (size_t i = 0; i < count_of(m); i++) {
        struct store_record record;
        struct span content = {m->log.data + begin, end_of(m, i) - begin};
        TRY(envelope_read(content, i + 1, &link, &record, et));
        if (i + 1 > after)
            TRY(visit(context, i + 1, &record));
        begin = end_of(m, i);
    }
    return ERR_OK;
}

static uint64_t store_mem_last(const struct store *store)
{
    return count_of((const struct store_mem *)(const void *)store);
}

static unsigned store_mem_percent_used(const struct store *store)
{
    const struct store_mem *m = (const struct store_mem *)(const void *)store;
    return (unsigned)(m->log.size / (LOG_BYTES_MAX / 100));
}

static void store_mem_destroy(struct store *store)
{
    struct store_mem *m = mem_of(store);
    bytes_fini(&m->log);
    bytes_fini(&m->ends);
    mem_free(m);
}

static const struct store_methods methods = {.append = store_mem_append,
                                             .read = store_mem_read,
                                             .last = store_mem_last,
                                             .percent_used = store_mem_percent_used,
                                             .destroy = store_mem_destroy};

enum err store_mem_create(struct store **out)
{
    struct store_mem *m = mem_alloc(1, sizeof *m);
    if (m == NULL)
        return ERR_OUT_OF_MEMORY;
    m->base.methods = &methods;
    bytes_init(&m->log, LOG_BYTES_MAX);
    bytes_init(&m->ends, LOG_BYTES_MAX);
    m->link = envelope_genesis();
    *out = &m->base;
    return ERR_OK;
}

void store_mem_fail_after(struct store *store, size_t n)
{
    mem_of(store)->fail_after = n;
}

uint8_t *store_mem_envelope(struct store *store, uint64_t seq, size_t *size_bytes)
{
    struct store_mem *m = mem_of(store);
    ASSERT(seq >= 1 && seq <= count_of(m));
    size_t begin = seq == 1 ? 0 : end_of(m, (size_t)seq - 2);
    *size_bytes = end_of(m, (size_t)seq - 1) - begin;
    return m->log.data + begin;
}
