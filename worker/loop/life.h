/* life.h - what the worker was at, kept where a killed process leaves it, so that the next process
 * of that name can say how this one ended.
 *
 * A process that the kernel kills for memory says nothing. It leaves a file behind, with the task
 * it computed and its size; the next one reads it beside the kernel's count of such kills.
 */
#ifndef WORKER_LOOP_LIFE_H
#define WORKER_LOOP_LIFE_H

#include <stdint.h>

#include "common/base/error.h"

enum { LIFE_TEXT_BYTES = 160, LIFE_PATH_BYTES = 1024 };

/* A copy of the file. Only processes of the same machine and build read it. */
struct life_record {
    uint64_t magic;
    uint64_t job;         /* of the task at work, 0: none */
    uint64_t kind;        /* enum stage_kind of that task */
    uint64_t rss_bytes;   /* within a sixty-fourth */
    uint64_t limit_bytes; /* of the machine or the control group */
    uint64_t oom_kills;   /* that the control group had counted at the start */
};

struct life {
    int fd; /* -1: no file, nothing is kept */
    struct life_record record;
    char path[LIFE_PATH_BYTES];
    char last_end[LIFE_TEXT_BYTES]; /* how the process before died at a task, or "" */
    uint64_t last_job;              /* whose task it was, or 0 */
};

/* Reads what the process before left in `folder` for this name, and starts anew. A folder that
 * cannot be written leaves the worker without such words; that is no error. */
void life_open(struct life *life, const char *folder, const char *name, uint64_t limit_bytes);

/* A task began (job not 0) or ended (0), or time went by. */
void life_note(struct life *life, uint64_t job, uint32_t kind);
void life_grow(struct life *life, uint64_t rss_bytes);

/* The end was one that the process knew of: the file goes. */
void life_close(struct life *life);

/* The words about a process that left `record` behind; `oom_kills` is the count now. "" when it was
 * at no task. */
void life_judge(const struct life_record *record, uint64_t oom_kills, char out[LIFE_TEXT_BYTES]);

#endif
