/* server_provider.h - what scale asks of providers, carried out: commands are run, children are
 * started and missed, and what came of it becomes answers. Decides nothing.
 *
 * Local workers and the ssh that hold far ones are children. They are in process groups of their
 * own and outlive this process: workers keep computing while it is started again, and come back by
 * their hello. What a worker says lies in DATA/workers/NAME.log.
 */
#ifndef COORDINATOR_LOOP_SERVER_PROVIDER_H
#define COORDINATOR_LOOP_SERVER_PROVIDER_H

#include <uv.h>

#include "coordinator/provider/provider.h"
#include "coordinator/scale/scale.h"

struct server_provider;

/* Called from the loop when answers are there that were not before. */
typedef void (*server_provider_news_f)(void *context);

/* The worker of a place on this machine crashed or was killed: whoever waits for its heartbeats
 * need not. */
typedef void (*server_provider_crash_f)(void *context, const char *provider,
                                        const char *allocation);

struct server_provider_options {
    uv_loop_t *loop;
    const char *data_folder;
    uint32_t incarnation; /* of the coordinator: part of allocations' ids */
    const struct provider_site *site;
    server_provider_news_f news;
    server_provider_crash_f crash;
    void *context;
};

/* Everything in `options` is borrowed until destroy. */
MUST_CHECK enum err server_provider_create(const struct server_provider_options *options,
                                           struct server_provider **out);

/* After the loop has closed its handles. Workers go on, commands that are out are ended. */
void server_provider_destroy(struct server_provider **providers);

/* Before the loop closes its handles: no command is begun any more. */
void server_provider_stop(struct server_provider *providers);

/* Carries out START, ASK or CANCEL; its one answer comes later, through server_provider_next. No
 * other is out for this provider. `loads`: who is there, so that no name is given twice. `config`
 * is borrowed until the answer. ERR_OUT_OF_MEMORY: there will be no answer. */
MUST_CHECK enum err server_provider_run(struct server_provider *providers,
                                        const struct provider_config *config,
                                        const struct scale_effect *effect,
                                        const struct demand_load *loads, size_t load_count);

/* Takes the oldest answer: STARTED, STATUS or CANCELLED without times and views of sched. Borrowed
 * until the next call. False: there is none. */
bool server_provider_next(struct server_provider *providers, struct scale_event *event);

/* Now and then: what workers that were started here write is kept within bounds. */
void server_provider_watch(struct server_provider *providers);

/* Some provider has not answered. */
bool server_provider_is_busy(const struct server_provider *providers);

#endif
