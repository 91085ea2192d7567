/* server_child.h - worker processes that this coordinator started: local ones, and the ssh of far
 * ones. They are missed when they end; they are not ended when this process does.
 */
#ifndef COORDINATOR_LOOP_SERVER_CHILD_H
#define COORDINATOR_LOOP_SERVER_CHILD_H

#include <uv.h>

#include "common/base/limits.h"
#include "coordinator/provider/provider.h"

struct server_child_set;

/* A child, as whoever is told of its end sees it. */
struct server_child {
    char provider[LIMIT_NAME_BYTES + 1];
    char allocation[PROVIDER_ID_BYTES + 1];
    char name[LIMIT_NAME_BYTES + 1]; /* of the worker */
    char host[PROVIDER_DETAIL_BYTES + 1];
};

/* A child ended, from the loop. `detail`: how, with the last line it wrote. */
typedef void (*server_child_end_f)(void *context, const struct server_child *child, bool has_failed,
                                   const char *detail);

MUST_CHECK enum err server_child_create(uv_loop_t *loop, const char *data_folder,
                                        server_child_end_f end, void *context,
                                        struct server_child_set **out);

/* After the loop has closed its handles. The processes go on. */
void server_child_destroy(struct server_child_set **set);

/* Starts the worker of `command`; what it writes goes to its log. ERR_IO with text. */
MUST_CHECK enum err server_child_start(struct server_child_set *set, const char *provider,
                                       const char *host, const struct provider_command *command,
                                       struct err_text *et);

/* Index of the host of the next ssh, by how the hosts fared since then; 0 for other kinds. */
MUST_CHECK enum err server_child_pick_host(const struct server_child_set *set,
                                           const struct provider_config *config, uint64_t since_ns,
                                           uint32_t *host);

bool server_child_has_name(const struct server_child_set *set, const char *name);

/* SIGTERM to it and what it started, which a worker answers by finishing what it has; the second
 * time SIGKILL. Nothing for one that is gone. */
void server_child_terminate(struct server_child_set *set, struct text allocation);

/* Now and then: logs of workers, also of those that an earlier life started, are cut to their last
 * lines when they have grown large. */
void server_child_bound_logs(const struct server_child_set *set);

#endif
