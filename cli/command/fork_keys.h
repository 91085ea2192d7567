/* fork_keys.h - which keys of a recipe a fork may change: a fork goes on from weights, moments and
 * a place in the data, and these have to fit.
 *
 * Owns: the table. Refuses to know: checkpoints, jobs.
 */
#ifndef CLI_COMMAND_FORK_KEYS_H
#define CLI_COMMAND_FORK_KEYS_H

#include "common/base/error.h"
#include "common/base/span.h"

enum fork_keys_class {
    FORK_KEYS_FREE,    /* from here on the training differs, as it is meant to */
    FORK_KEYS_DATA,    /* rows come in another order, or are others, from here on */
    FORK_KEYS_REFUSED, /* decides shapes, the model, or by which rules numbers are rounded */
};

enum fork_keys_class fork_keys_class(struct text key);

/* Calls changed(context, key) for each key whose lines differ between two canonical recipes, in
 * their order; stops at the first error. */
typedef enum err (*fork_keys_changed_f)(void *context, struct text key);
MUST_CHECK enum err fork_keys_compare(struct span before, struct span after,
                                      fork_keys_changed_f changed, void *context);

#endif
