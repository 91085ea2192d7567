/* task_place.h - where tests run tasks: a cache against a bulk socket, inputs by role, results. */
#ifndef TESTS_UNIT_WORKER_TASK_TASK_PLACE_H
#define TESTS_UNIT_WORKER_TASK_TASK_PLACE_H

#include <stdint.h>

#include "common/mem/arena.h"
#include "common/message/message.h"
#include "tests/lib/bulk/bulk_server.h"
#include "worker/cache/cache.h"
#include "worker/task/task.h"

enum { TASK_PLACE_INPUTS_MAX = 64 };

/* A worker's half without the loop. */
struct task_place {
    char folder[64];
    struct bulk_server *server;
    struct cache *cache;
    struct task_env *env;
    struct arena arena;
    struct artifact_ref inputs[TASK_PLACE_INPUTS_MAX];
    uint32_t input_count;
    uint64_t data_bytes;
};

/* The folder of real data: QFLEET_DATA, or ../shared/data. */
const char *task_place_data(void);

/* A fresh folder with its server and cache; start makes the tasks' environment anew. */
struct task_place *task_place_open(void);
void task_place_start(struct task_place *p, unsigned threads);
void task_place_close(struct task_place *p);

/* Inputs of the tasks that follow. A file is one that both sides can read; a recipe is YAML. */
void task_place_add(struct task_place *p, struct artifact_ref ref, const char *name);
void task_place_add_bytes(struct task_place *p, const char *name, struct span content);
void task_place_add_file(struct task_place *p, const char *name, const char *path);
void task_place_add_recipe(struct task_place *p, const char *text);

/* Runs a task of profile f32/1 with all inputs; fails the test when it fails. */
struct task_result task_place_run(struct task_place *p, struct task_spec spec);
uint64_t task_place_fact(const struct task_result *result, const char *name);
struct artifact_ref task_place_output(const struct task_result *result, const char *name);

#endif
