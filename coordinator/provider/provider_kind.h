/* provider_kind.h - what one kind of provider is made of; for the files of this folder. */
#ifndef COORDINATOR_PROVIDER_PROVIDER_KIND_H
#define COORDINATOR_PROVIDER_PROVIDER_KIND_H

#include "common/mem/bytes.h"
#include "coordinator/provider/provider.h"

enum { PROVIDER_KIND_IDS = 64 /* allocations named by one command */ };

/* One request of a kind: what it is about and where the commands go. */
struct provider_request {
    const struct provider_config *config;
    const struct provider_site *site;
    const struct provider_start *start; /* start */
    const char *const *ids;             /* cancel */
    size_t ids_count;
    uint32_t total; /* cancel: what there shall be then */
    struct arena *arena;
    struct provider_commands *out; /* rows with room, none of them begun */
};

/* Fills rows of `out`; the first failure ends it. */
typedef enum err (*provider_request_f)(const struct provider_request *request);

/* Output as allocations; returns the number of lines that say nothing that is understood. */
typedef size_t (*provider_read_f)(struct text output, provider_seen_f seen, void *context);

struct provider_kind_row {
    bool keeps_children;
    provider_request_f start, status, cancel; /* the last two: NULL where children are kept */
    provider_read_f read_start, read_status;  /* NULL: output says nothing */
};

extern const struct provider_kind_row provider_kind_local;
extern const struct provider_kind_row provider_kind_ssh;
extern const struct provider_kind_row provider_kind_slurm;
extern const struct provider_kind_row provider_kind_kubernetes;

/* The next row of `out` with room for its arguments; NULL when memory or rows are out. */
struct provider_command *provider_kind_command(const struct provider_request *request,
                                               uint32_t timeout_ms);

/* Appends an argument; the text is borrowed. NULL counts as no memory. A failure is kept: argc goes
 * above PROVIDER_ARGUMENTS_MAX and provider_kind_finish says so. */
void provider_kind_add(struct provider_command *command, const char *argument);

/* Appends "KEY" and "VALUE", nothing when value is NULL or empty. */
void provider_kind_add_pair(struct provider_command *command, const char *key, const char *value);

/* ERR_LIMIT after too many arguments, ERR_OUT_OF_MEMORY after a NULL one. */
MUST_CHECK enum err provider_kind_finish(struct provider_command *command);

/* Appends "KEY" and the number, nothing when it is 0. */
void provider_kind_add_number(const struct provider_request *request,
                              struct provider_command *command, const char *key, uint64_t value);

/* The worker's program and arguments. With a `name` also the allocation of request->start, the time
 * limit and the cache; without, the worker finds allocation and name itself. */
void provider_kind_add_worker(const struct provider_request *request,
                              struct provider_command *command, const char *name);

/* Appends `word` as one word of sh. */
void provider_kind_quote(struct bytes *out, const char *word);

/* The text of `out` in the request's arena, NULL when memory is out; releases `out`. */
const char *provider_kind_text(struct arena *arena, struct bytes *out);

/* The next line that is not empty, without white space at its end; false after the last one. *at
 * begins as 0. A line longer than any of ours is cut. */
bool provider_kind_line(struct text output, size_t *at, struct text *line);

/* Every line through `parser`, which says whether it understood. */
typedef bool (*provider_kind_line_f)(struct text line, struct provider_allocation *allocation);
size_t provider_kind_each(struct text output, provider_kind_line_f parser, provider_seen_f seen,
                          void *context);

/* Fields of a line between `separator`, at most `max`; the last takes what is left. */
size_t provider_kind_split(struct text line, char separator, struct text *fields, size_t max);

/* Fills id and detail, cut to fit; false when the id is not valid. */
bool provider_kind_say(struct provider_allocation *allocation, struct text id,
                       enum provider_allocation_state state, struct text detail);

#endif
