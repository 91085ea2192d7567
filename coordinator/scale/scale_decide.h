/* scale_decide.h - from what is known to what is done: how many each provider should have, who is
 * started, who may go. */
#ifndef COORDINATOR_SCALE_SCALE_DECIDE_H
#define COORDINATOR_SCALE_SCALE_DECIDE_H

#include "coordinator/scale/scale_state.h"

/* Fills in what each site wants and has. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err scale_decide_wants(struct scale *scale, const struct scale_event *event,
                                       struct arena *arena);

/* Effects of all sites, in `arena`; commands they stand for are out from now on. `is_preview`:
 * waiting, resting and settling are over. ERR_OUT_OF_MEMORY: there are no
 * effects; when memory runs out after some, they are all there is this time. */
MUST_CHECK enum err scale_decide(struct scale *scale, const struct scale_event *event,
                                 bool is_preview, struct arena *arena,
                                 struct scale_effects *effects);

#endif
