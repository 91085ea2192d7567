/* doctor_fleet.h - what belongs to a fleet: programs, sockets, configuration, keys, coordinator. */
#ifndef CLI_COMMAND_DOCTOR_FLEET_H
#define CLI_COMMAND_DOCTOR_FLEET_H

#include "cli/command/doctor.h"

void doctor_fleet_examine(struct doctor *doctor);

#endif
