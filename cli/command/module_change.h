/* module_change.h - how far the weights of each module moved between two training states.
 *
 * A module is what its parameters have in common before the last part of their names: the two
 * factors of an adapter are one. Refuses to know: checkpoints, jobs, where states come from.
 */
#ifndef CLI_COMMAND_MODULE_CHANGE_H
#define CLI_COMMAND_MODULE_CHANGE_H

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/message/message.h"

/* A state file of which parts are read: `size` bytes from `begin` on. */
typedef enum err (*module_change_read_f)(void *context, uint64_t begin, void *out, size_t size,
                                         struct err_text *et);
struct module_change_state {
    uint64_t size_bytes;
    module_change_read_f read;
    void *context;
};

/* Modules of two state files, the largest change first, those of one state alone at the end; in
 * `arena`, at most LIMIT_LIST_ROWS. Sums are of doubles, in the order of the file. Of the states no
 * more is in memory than their heads and a piece of a tensor. ERR_FORMAT, ERR_OUT_OF_MEMORY, what
 * `read` fails with. */
MUST_CHECK enum err module_change_list(const struct module_change_state *before,
                                       const struct module_change_state *after, struct arena *arena,
                                       struct module_change **rows, uint32_t *count,
                                       struct err_text *et);

#endif
