/* state_color.c - see state_color.h. */
#include "cli/render/state_color.h"

enum style_color state_color_job(enum job_state state)
{
    switch (state) {
    case JOB_DONE:
        return STYLE_GOOD;
    case JOB_FAILED:
        return STYLE_BAD;
    case JOB_RUNNING:
        return STYLE_BUSY;
    case JOB_WAITING:
    case JOB_PAUSED:
    case JOB_CANCELLED:
    case JOB_STATE_COUNT:
        break;
    }
    return STYLE_DIM;
}

enum style_color state_color_stage(enum stage_state state)
{
    switch (state) {
    case STAGE_DONE:
        return STYLE_GOOD;
    case STAGE_FAILED:
        return STYLE_BAD;
    case STAGE_RUNNING:
        return STYLE_BUSY;
    case STAGE_WAITING:
    case STAGE_CANCELLED:
    case STAGE_STATE_COUNT:
        break;
    }
    return STYLE_DIM;
}

enum style_color state_color_worker(enum worker_state state)
{
    switch (state) {
    case WORKER_READY:
        return STYLE_GOOD;
    case WORKER_QUIET:
    case WORKER_LOST:
        return STYLE_BAD;
    case WORKER_DRAINING:
        return STYLE_BUSY;
    case WORKER_LEFT:
    case WORKER_STATE_COUNT:
        break;
    }
    return STYLE_DIM;
}
