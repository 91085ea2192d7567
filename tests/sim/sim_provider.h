/* sim_provider.h - an engine that lends machines, played, and the real scale that asks it for them.
 *
 * Places come late or not at all, end when their time is over, and are taken away. What scale knows
 * dies with the coordinator; places and workers live on.
 */
#ifndef TESTS_SIM_SIM_PROVIDER_H
#define TESTS_SIM_SIM_PROVIDER_H

#include "sim.h"

void sim_provider_create(struct sim *sim);
void sim_provider_destroy(struct sim *sim);

/* A new life of the coordinator. */
void sim_provider_coordinator(struct sim *sim, bool is_restart);

/* Something is due. */
void sim_provider_timer(struct sim *sim);

/* What the worker's process was started with. */
void sim_provider_configure(struct sim *sim, uint32_t worker, struct agent_config *config);

/* The process of a worker ended. */
void sim_provider_ended(struct sim *sim, uint32_t worker, bool has_failed);

/* Everything was given back. */
bool sim_provider_is_empty(const struct sim *sim);

#endif
