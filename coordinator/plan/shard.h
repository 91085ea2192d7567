/* shard.h - the fixed parts of the data that prepare works on. */
#ifndef COORDINATOR_PLAN_SHARD_H
#define COORDINATOR_PLAN_SHARD_H

#include "common/base/error.h"
#include "common/mem/arena.h"
#include "common/message/message.h"

/* Bytes of a shard. It decides where a dataset is cut, so it is part of what fixes a job's bits. */
enum { SHARD_BYTES = 4 << 20 };

/* One task for every shard of every data/, test/ and calib/ input, in the order of the inputs. A
 * file whose name ends in .json is one value and stays whole, as does text that becomes one stream
 * of windows: calib/, and with `streams` test/. ERR_DATA: an empty file, or more shards than a task
 * may have inputs. */
MUST_CHECK enum err shard_inputs(const struct artifact_ref *inputs, uint32_t count, bool streams,
                                 struct arena *arena, struct stage_plan *prepare,
                                 struct err_text *et);

#endif
