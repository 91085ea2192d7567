/* store.c - the part of the contract that all implementations share. */
#include "coordinator/store/store.h"

enum err store_append(struct store *store, const struct store_record *records, size_t count,
                      struct err_text *et)
{
    if (store->is_failed)
        return error_set(et, ERR_STORE, "the store failed before and takes nothing more");
    if (count == 0)
        return ERR_OK;
    enum err err = store->methods->append(store, records, count, et);
    if (err != ERR_OK)
        store->is_failed = true;
    return err;
}

enum err store_read(struct store *store, uint64_t after, store_visit_f visit, void *context,
                    struct err_text *et)
{
    return store->methods->read(store, after, visit, context, et);
}

uint64_t store_last(const struct store *store)
{
    return store->methods->last(store);
}

unsigned store_percent_used(const struct store *store)
{
    return store->methods->percent_used(store);
}

void store_destroy(struct store **store)
{
    if (*store != NULL)
        (*store)->methods->destroy(*store);
    *store = NULL;
}
