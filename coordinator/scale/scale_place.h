/* scale_place.h - the places of a provider: made known by its reports and by the workers in them,
 * forgotten when neither tells of them any more. */
#ifndef COORDINATOR_SCALE_SCALE_PLACE_H
#define COORDINATOR_SCALE_SCALE_PLACE_H

#include "coordinator/scale/scale_state.h"

/* Takes in what the provider said. ERR_OUT_OF_MEMORY: part of it. */
MUST_CHECK enum err scale_place_report(struct scale_site *site, const struct scale_event *event);

/* Joins workers with places, for all sites: places that only workers know of become known, those
 * whose end was told by their workers are forgotten where nobody else tells it. `arena` for the
 * duration of the call. ERR_OUT_OF_MEMORY: nothing changed. */
MUST_CHECK enum err scale_place_join(struct scale *scale, const struct scale_event *event,
                                     struct arena *arena);

/* A start came to nothing: the next is later, and after LIMIT_SCALE_LOSSES there is none. */
void scale_place_blame(struct scale_site *site, struct instant now, struct text detail);

/* Room for so many places more, so that what a START got is known in any case. */
MUST_CHECK enum err scale_place_reserve(struct scale_site *site, size_t count);

void scale_place_clear(struct scale_site *site);

#endif
