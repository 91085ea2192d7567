/* plan_reuse.h - which keys of a recipe decide what a task of a reusable kind computes.
 *
 * What a task reads is told by its inputs, and by their digests, not their paths; these are the
 * keys that the task itself looks at. Two jobs may differ in all others and share the result.
 */
#ifndef COORDINATOR_PLAN_PLAN_REUSE_H
#define COORDINATOR_PLAN_PLAN_REUSE_H

#include "common/base/span.h"
#include "common/digest/digest.h"
#include "common/message/state.h"

/* Hash of the lines of a canonical recipe that matter to a task of this kind; of all lines, and of
 * the variant, for a kind of which nothing is said, and when the model is made at random. Keys that
 * may be lists matter to none of the others. */
struct digest plan_reuse_key(struct span recipe, uint32_t variant, enum stage_kind kind);

#endif
