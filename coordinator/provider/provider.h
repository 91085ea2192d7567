/* provider.h - how machines are asked for workers: local processes, ssh, Slurm, Kubernetes, each as
 * a table of pure functions from values to command lines and from their output to values.
 *
 * Existing engines provide the machines, the scale module decides how many, the loop runs the
 * commands. What is known here is only the words of each engine: sbatch's options, squeue's states,
 * kubectl's columns. Refuses to know: processes, sockets, the clock, what a worker is worth.
 *
 * Words
 *   provider    a named source of workers
 *   allocation  one place got from it; its id is text: a Slurm job, a pod, or a number of ours
 *
 * Invariants
 *  1. A command is a list of arguments, never a line for a shell here. Where the far side has a
 *     shell of its own (ssh, the script of sbatch), every value is quoted for it.
 *  2. What a file or an engine says is checked before it becomes an argument: provider_check, and
 *     ids by provider_id_is_valid.
 *  3. Reading output never fails: a line that is not understood is skipped and counted.
 */
#ifndef COORDINATOR_PROVIDER_PROVIDER_H
#define COORDINATOR_PROVIDER_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/recipe/providers.h"

enum {
    PROVIDER_ARGUMENTS_MAX = 96, /* of one command */
    PROVIDER_ID_BYTES = 64,      /* of an allocation, without the end */
    PROVIDER_NAME_BYTES = 32,    /* of a provider; part of names of workers, jobs and files */
    PROVIDER_DETAIL_BYTES = 160,
    PROVIDER_START_MAX = 32, /* allocations asked for at once */
};

/* What is the same for every provider of a coordinator. Borrowed. */
struct provider_site {
    const char *program;     /* qfleet-worker beside this coordinator; for kind local */
    const char *coordinator; /* own control endpoint */
    const char *secret;      /* worker's key file on this machine, or NULL */
    const char *server_key;  /* or NULL */
    const char *fleet;       /* short word that tells this coordinator's jobs from another's */
};

/* Says whether commands can be made of `config`, and, where `site` is not NULL, whether its workers
 * could reach the coordinator. ERR_RECIPE: `et` names the key, what is expected, what was found. */
MUST_CHECK enum err provider_check(const struct provider_config *config,
                                   const struct provider_site *site, struct err_text *et);

/* Letters, digits and . _ - [ ] , 1 to PROVIDER_ID_BYTES of them, not starting with a dash. */
bool provider_id_is_valid(struct text id);

/* A command in an arena. */
struct provider_command {
    const char **argv; /* NULL-terminated */
    size_t argc;
    struct text input; /* for its standard input; may be empty */
    uint32_t timeout_ms;
    bool is_worker;         /* the process is the allocation: it lives as long as the worker */
    const char *allocation; /* is_worker: the id it was made with */
    const char *worker;     /* is_worker: name of the worker */
};

/* More allocations. Kinds whose process is the allocation start one, and get its id from the
 * caller. The others start `count` with one command or several. */
struct provider_start {
    uint32_t count;     /* at most PROVIDER_START_MAX */
    uint32_t total;     /* what there shall be then */
    const char *serial; /* the id: never given twice by this data folder */
    uint32_t slot;      /* number in the worker's name: one that no other worker has now */
    uint32_t host;      /* ssh: index of config->hosts */
};

enum provider_allocation_state {
    PROVIDER_WAITING, /* asked for, not there yet */
    PROVIDER_RUNNING,
    PROVIDER_LEAVING, /* told to end */
    PROVIDER_ENDED,   /* over; `detail` says how */
    PROVIDER_FAILED   /* over, and not by its own will: could not start, crashed, was killed */
};

struct provider_allocation {
    char id[PROVIDER_ID_BYTES + 1];
    enum provider_allocation_state state;
    char detail[PROVIDER_DETAIL_BYTES]; /* the engine's word: "Resources", "TIMEOUT"; may be "" */
};

/* Receives one allocation of a report; `allocation` lives during the call. */
typedef void (*provider_seen_f)(void *context, const struct provider_allocation *allocation);

/* The commands of one request, carried out one after the other until one fails. */
struct provider_commands {
    struct provider_command *rows;
    size_t count;
};

/* Whether the kind's processes are its allocations: local and ssh. Then there is nothing to ask
 * and nothing to cancel by command: the caller sees its children. */
bool provider_keeps_children(enum provider_kind kind);

/* Commands that start, that ask what there is, that let go of `ids` (allocations that wait, or a
 * pod that shall drain and go; `total` is what there shall be then). In `arena`.
 * provider_status, provider_cancel: not for kinds that keep children (no rows).
 * ERR_OUT_OF_MEMORY, ERR_LIMIT when too many arguments are asked for, ERR_INTERNAL when an id is
 * none (invariant 2). */
MUST_CHECK enum err provider_start(const struct provider_config *config,
                                   const struct provider_site *site,
                                   const struct provider_start *start, struct arena *arena,
                                   struct provider_commands *out);
MUST_CHECK enum err provider_status(const struct provider_config *config,
                                    const struct provider_site *site, struct arena *arena,
                                    struct provider_commands *out);
MUST_CHECK enum err provider_cancel(const struct provider_config *config,
                                    const struct provider_site *site, const char *const *ids,
                                    size_t ids_count, uint32_t total, struct arena *arena,
                                    struct provider_commands *out);

/* What the output of a start names (sbatch: its job; kubectl: the pods) and what a status lists.
 * Return the number of lines that should be allocations and were not understood. */
size_t provider_parse_start(enum provider_kind kind, struct text output, provider_seen_f seen,
                            void *context);
size_t provider_parse_status(enum provider_kind kind, struct text output, provider_seen_f seen,
                             void *context);

/* ssh: how a host fares. */
struct provider_host {
    uint32_t workers;
    uint64_t failed_ns; /* when a worker there last failed; 0: never */
};

/* The host for the next worker: of those that did not fail since `since_ns` the one with fewest
 * workers; when all did, the one whose failure is oldest. The first of equals. count > 0. */
uint32_t provider_pick_host(const struct provider_host *hosts, size_t count, uint64_t since_ns);

/* The command as a person would type it, quoted for sh; its input follows as a here-document. In
 * `arena`, NULL when memory is out. */
const char *provider_command_text(const struct provider_command *command, struct arena *arena);

#endif
