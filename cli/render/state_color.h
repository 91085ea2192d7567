/* state_color.h - the colour of a state, the same wherever it is shown. Never the only sign: the
 * state's word stands beside it. */
#ifndef CLI_RENDER_STATE_COLOR_H
#define CLI_RENDER_STATE_COLOR_H

#include "cli/render/style.h"
#include "common/message/state.h"

enum style_color state_color_job(enum job_state state);
enum style_color state_color_stage(enum stage_state state);
enum style_color state_color_worker(enum worker_state state);

#endif
