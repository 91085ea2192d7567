/* sim_main.c - runs seeds of scenarios; a failure prints the one command that replays it.
 *
 *   sim                          the seeds of the test command, all scenarios
 *   sim --seeds 10000            more of them
 *   sim --scenario chaos --seed 7
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem/mem.h"
#include "sim.h"

enum { SEEDS_DEFAULT = 100 };

struct options {
    const struct sim_scenario *scenario; /* NULL: all */
    uint64_t first, count;
};

static void add(struct sim_statistics *total, const struct sim_statistics *s)
{
    uint64_t *sums = (uint64_t *)total;
    for (size_t i = 0; i < sizeof *s / sizeof(uint64_t); i++)
        sums[i] += ((const uint64_t *)s)[i];
}

/* The results of each job alone, in `signature`. */
static bool run_twins(struct sim *sim, const struct sim_scenario *scenario, uint64_t seed,
                      char *signature)
{
    uint32_t count = scenario->jobs + scenario->quantize_jobs;
    bool holds = true;
    size_t used = 0;
    for (uint32_t job = 0; holds && job < count; job++) {
        holds = sim_run(sim, scenario, seed, job);
        if (!holds)
            break;
        sim_signature(sim, signature + used, SIM_SIGNATURE_BYTES - used);
        used += strlen(signature + used);
        if (job + 1 < count)
            sim_fini(sim);
    }
    return holds;
}

/* A run and its undisturbed twins. */
static bool run_seed(const struct sim_scenario *scenario, uint64_t seed, const char *program,
                     struct sim_statistics *total)
{
    struct sim *sim = mem_alloc(1, sizeof *sim);
    char *signatures = mem_alloc(2, SIM_SIGNATURE_BYTES);
    if (sim == NULL || signatures == NULL)
        return false;
    bool holds = sim_run(sim, scenario, seed, SIM_ALL_JOBS);
    if (holds)
        sim_signature(sim, signatures, SIM_SIGNATURE_BYTES);
    sim->statistics.virtual_ms = sim->now_ns / NS_PER_MS;
    add(total, &sim->statistics);
    if (holds) {
        sim_fini(sim);
        holds = run_twins(sim, scenario, seed, signatures + SIM_SIGNATURE_BYTES);
    }
    if (holds && strcmp(signatures, signatures + SIM_SIGNATURE_BYTES) != 0) {
        sim_fail(sim, "the results differ from those of one undisturbed worker");
        printf("--- disturbed\n%s--- undisturbed\n%s", signatures,
               signatures + SIM_SIGNATURE_BYTES);
        holds = false;
    }
    if (!holds)
        printf("FAIL %s at %.3f virtual seconds\nreplay: %s --scenario %s --seed %llu\n",
               sim->failure, (double)sim->now_ns * 1e-9, program, scenario->name,
               (unsigned long long)seed);
    sim_fini(sim);
    mem_free(sim);
    mem_free(signatures);
    return holds;
}

static void report(const char *name, uint64_t seeds, const struct sim_statistics *t,
                   uint64_t failed)
{
    printf("%-12s %5llu seeds %6.2f h %9llu events %8llu steps %7llu tasks %6llu folds; %llu "
           "dropped, %llu doubled, %llu delayed, %llu worker and %llu coordinator crashes, "
           "%llu damaged, %llu made again; %llu in waves, %llu taken over, %llu given up; %llu "
           "restored, %llu forgotten, %llu tagged, %llu pruned; %llu provided, %llu let go, %llu "
           "expired; %llu failed\n",
           name, (unsigned long long)seeds, (double)t->virtual_ms / 3.6e6,
           (unsigned long long)t->events, (unsigned long long)t->steps,
           (unsigned long long)t->tasks, (unsigned long long)t->folds,
           (unsigned long long)t->dropped, (unsigned long long)t->doubled,
           (unsigned long long)t->delayed, (unsigned long long)t->worker_crashes,
           (unsigned long long)t->coordinator_crashes, (unsigned long long)t->damages,
           (unsigned long long)t->remade, (unsigned long long)t->waves,
           (unsigned long long)t->reused, (unsigned long long)t->given_up,
           (unsigned long long)t->restored, (unsigned long long)t->forgotten,
           (unsigned long long)t->tagged, (unsigned long long)t->pruned,
           (unsigned long long)t->provided, (unsigned long long)t->let_go,
           (unsigned long long)t->expired, (unsigned long long)failed);
    fflush(stdout);
}

static uint64_t run_scenario(const struct sim_scenario *scenario, const struct options *options,
                             const char *program, uint64_t *seeds, struct sim_statistics *total)
{
    struct sim_statistics t = {0};
    /* The large fleet is one seed of its own cost. */
    uint64_t count = scenario->workers >= 100 && options->scenario == NULL ? 1 : options->count;
    uint64_t failed = 0;
    for (uint64_t i = 0; i < count; i++)
        failed += !run_seed(scenario, options->first + i, program, &t);
    report(scenario->name, count, &t, failed);
    add(total, &t);
    *seeds += count;
    return failed;
}

static bool parse(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        char *end = NULL;
        if (strcmp(argv[i], "--scenario") == 0) {
            options->scenario = sim_scenario_find(value);
            if (options->scenario == NULL)
                return false;
            continue;
        }
        uint64_t number = strtoull(value, &end, 10);
        if (*value == '\0' || *end != '\0')
            return false;
        if (strcmp(argv[i], "--seeds") == 0) {
            options->count = number;
        } else if (strcmp(argv[i], "--seed") == 0) {
            options->first = number;
            options->count = 1;
        } else {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .count = SEEDS_DEFAULT};
    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "usage: sim [--scenario NAME] [--seed N | --seeds N]\nscenarios:");
        for (size_t i = 0; i < sim_scenario_count; i++)
            fprintf(stderr, " %s", sim_scenarios[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    struct sim_statistics total = {0};
    uint64_t seeds = 0;
    uint64_t failed = 0;
    for (size_t i = 0; i < sim_scenario_count; i++) {
        if (options.scenario == NULL || options.scenario == &sim_scenarios[i])
            failed += run_scenario(&sim_scenarios[i], &options, argv[0], &seeds, &total);
    }
    report("all", seeds, &total, failed);
    return failed == 0 ? 0 : 1;
}
