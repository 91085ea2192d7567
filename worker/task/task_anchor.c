/* task_anchor.c - see the header. */
#include "worker/task/task_anchor.h"

#include "worker/task/task_state.h"

enum err task_anchor_read(struct task_run *run, const struct train_layout *layout,
                          struct kernel *kernel, float *values, bool *found, struct err_text *et)
{
    const struct cache_item *item = NULL;
    *found = task_run_input(run, "anchor") != NULL;
    if (!*found)
        return ERR_OK;
    TRY(task_run_open(run, "anchor", &item, et));
    enum err err = task_state_read(item->bytes, "anchor", layout, kernel, values, et);
    cache_release(run->env->options.cache, &item);
    return err;
}
