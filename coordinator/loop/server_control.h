/* server_control.h - frames of the control socket: who may say what, and where it goes. */
#ifndef COORDINATOR_LOOP_SERVER_CONTROL_H
#define COORDINATOR_LOOP_SERVER_CONTROL_H

#include "coordinator/loop/server_state.h"

/* Takes in what waits, at most a budget of frames; true when there is more. */
bool server_control_drain(struct server *server);

/* STOP: workers are told to go, the process ends when they did or a moment later. */
void server_control_retire(struct server *server, const char *reason);

#endif
