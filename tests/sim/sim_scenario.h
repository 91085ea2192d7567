/* sim_scenario.h - what can happen in a run, and what is counted of it. */
#ifndef TESTS_SIM_SIM_SCENARIO_H
#define TESTS_SIM_SIM_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Chances in parts of a million, times in milliseconds. */
struct sim_scenario {
    const char *name;
    uint32_t workers;
    uint32_t jobs, quantize_jobs; /* that train or evaluate, that quantize */
    uint32_t size;                /* scales shards and rows of a job */
    uint32_t drop, duplicate, delay;
    bool reorders;
    uint32_t crash_worker; /* at each message it handles */
    uint32_t crash_coordinator;
    uint32_t terminate; /* a worker is told to go, at each message it handles */
    uint32_t cut;       /* a worker is cut off for a while, at each message it sends */
    uint32_t freeze;    /* a worker stands still for a while, at each message it handles */
    uint32_t slow;      /* an attempt takes fifty times as long */
    uint32_t task_fault, work_fault;
    uint32_t control;        /* pause, resume, cancel, retry: at each second */
    uint32_t disk;           /* the disk is low for a while: at each second */
    uint32_t history;        /* something is done to checkpoints: at each second */
    uint32_t damage;         /* a durable artifact that a job made is damaged: at each second */
    uint32_t provider_fault; /* a command of the engine fails, or a place that it begins */
    bool provides;           /* workers are got from an engine that lends machines for a while */
    uint64_t heal_ms;        /* no faults from then on */
};

extern const struct sim_scenario sim_scenarios[];
extern const size_t sim_scenario_count;
const struct sim_scenario *sim_scenario_find(const char *name);

struct sim_statistics {
    uint64_t events, steps, records, messages, dropped, doubled, delayed;
    uint64_t coordinator_crashes, worker_crashes, reconnects, tasks, folds, virtual_ms;
    uint64_t damages, remade, waves, reused, given_up, restored, forgotten, tagged, pruned;
    uint64_t provided, let_go, expired; /* places got, workers let go, places that timed out */
};

#endif
