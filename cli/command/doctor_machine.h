/* doctor_machine.h - the machine: processor, memory and its limits, disks, clock, ports. */
#ifndef CLI_COMMAND_DOCTOR_MACHINE_H
#define CLI_COMMAND_DOCTOR_MACHINE_H

#include "cli/command/doctor.h"

void doctor_machine_examine(struct doctor *doctor);

#endif
