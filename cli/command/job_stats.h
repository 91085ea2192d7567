/* job_stats.h - what is known of a quantized model while its job runs and after: recipe,
 * calibration, figures of tensors. */
#ifndef CLI_COMMAND_JOB_STATS_H
#define CLI_COMMAND_JOB_STATS_H

#include "cli/command/command.h"
#include "cli/stats/figures.h"
#include "common/calibration/statistics.h"
#include "common/digest/digest.h"
#include "common/recipe/recipe.h"

struct job_stats {
    uint64_t job;
    struct arena arena; /* owned: the job's name and lists */
    struct text name;
    struct recipe recipe; /* owned */
    bool is_done;
    struct digest key;             /* of the calibration; zero: none is shared with other jobs */
    struct statistics *statistics; /* owned; NULL: there is none (yet) */
    bool will_measure;             /* statistics are still to come */
    struct figures figures;        /* owned */
};

/* Asks for all of it. ERR_STATE for a job that does not quantize; errors of the client. */
MUST_CHECK enum err job_stats_open(struct invocation *invocation, const char *prefix,
                                   struct job_stats *out, struct err_text *et);
void job_stats_close(struct job_stats *stats);

#endif
