/* sim_scenario.c - tables of faults; a row is a world. */
#include "sim.h"

#include <string.h>

#include "common/base/check.h"

const struct sim_scenario sim_scenarios[] = {
    {.name = "calm", .workers = 3, .jobs = 2, .quantize_jobs = 3, .size = 1, .heal_ms = 1},
    {.name = "network",
     .workers = 4,
     .jobs = 2,
     .quantize_jobs = 3,
     .size = 1,
     .drop = 50000,
     .duplicate = 50000,
     .delay = 30000,
     .reorders = true,
     .slow = 20000,
     .heal_ms = 120000},
    {.name = "workers",
     .workers = 5,
     .jobs = 2,
     .quantize_jobs = 3,
     .size = 1,
     .drop = 5000,
     .crash_worker = 8000,
     .terminate = 2000,
     .slow = 30000,
     .task_fault = 20000,
     .heal_ms = 120000},
    {.name = "coordinator",
     .workers = 3,
     .jobs = 3,
     .quantize_jobs = 3,
     .size = 1,
     .drop = 5000,
     .crash_coordinator = 8000,
     .work_fault = 10000,
     .heal_ms = 120000},
    {.name = "partition",
     .workers = 4,
     .jobs = 2,
     .quantize_jobs = 3,
     .size = 1,
     .cut = 6000,
     .freeze = 4000,
     .delay = 10000,
     .crash_coordinator = 1000,
     .heal_ms = 150000},
    {.name = "damage",
     .workers = 3,
     .jobs = 3,
     .quantize_jobs = 3,
     .size = 1,
     .drop = 5000,
     .crash_worker = 2000,
     .crash_coordinator = 8000,
     .damage = 150000,
     .heal_ms = 120000},
    {.name = "chaos",
     .workers = 5,
     .jobs = 4,
     .quantize_jobs = 4,
     .size = 1,
     .drop = 30000,
     .duplicate = 30000,
     .delay = 20000,
     .reorders = true,
     .crash_worker = 4000,
     .crash_coordinator = 4000,
     .terminate = 1000,
     .cut = 2000,
     .freeze = 2000,
     .slow = 20000,
     .task_fault = 10000,
     .work_fault = 5000,
     .control = 100000,
     .disk = 20000,
     .damage = 20000,
     .heal_ms = 150000},
    {.name = "thousand",
     .workers = 1000,
     .jobs = 2,
     .quantize_jobs = 3,
     .size = 64,
     .drop = 2000,
     .duplicate = 2000,
     .crash_worker = 300,
     .slow = 5000,
     .heal_ms = 20000},
};

const size_t sim_scenario_count = COUNT_OF(sim_scenarios);

const struct sim_scenario *sim_scenario_find(const char *name)
{
    for (size_t i = 0; i < sim_scenario_count; i++) {
        if (strcmp(sim_scenarios[i].name, name) == 0)
            return &sim_scenarios[i];
    }
    return NULL;
}
