/* task_place.c - see task_place.h. */
#include "tests/unit/worker/task/task_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"
#include "common/recipe/recipe.h"

const char *task_place_data(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

struct task_place *task_place_open(void)
{
    struct task_place *p = mem_alloc(1, sizeof *p);
    assert_non_null(p);
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/qfleet-task-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->server = bulk_server_start(p->folder);
    assert_non_null(p->server);
    char cache[96];
    (void)snprintf(cache, sizeof cache, "%s/cache", p->folder);
    const struct cache_options options = {.folder = cache,
                                          .is_private = true,
                                          .size_bytes_max = 1 << 30,
                                          .transport = {.frame_bytes_max = 4 << 20},
                                          .patience_ms = 10000};
    assert_int_equal(cache_create(&options, &p->cache, NULL), ERR_OK);
    assert_int_equal(cache_aim(p->cache, text_of(bulk_server_endpoint(p->server))), ERR_OK);
    arena_init(&p->arena, 1 << 30);
    return p;
}

void task_place_start(struct task_place *p, unsigned threads)
{
    const struct task_options options = {
        .cache = p->cache, .isa = KERNEL_ISA_BEST, .threads = threads, .memory_bytes = 1ull << 32};
    task_env_destroy(&p->env);
    assert_int_equal(task_env_create(&options, &p->env), ERR_OK);
}

void task_place_close(struct task_place *p)
{
    char socket[96];
    (void)snprintf(socket, sizeof socket, "%s/bulk.sock", p->folder);
    task_env_destroy(&p->env);
    cache_destroy(&p->cache);
    bulk_server_stop(&p->server);
    arena_fini(&p->arena);
    unlink(socket);
    assert_int_equal(rmdir(p->folder), 0);
    mem_free(p);
}

void task_place_add(struct task_place *p, struct artifact_ref ref, const char *name)
{
    assert_true(p->input_count < TASK_PLACE_INPUTS_MAX);
    ref.name = text_of(arena_copy_text(&p->arena, text_of(name)));
    p->inputs[p->input_count++] = ref;
}

void task_place_add_bytes(struct task_place *p, const char *name, struct span content)
{
    struct artifact_ref ref = {.size_bytes = content.size};
    ref.digest = bulk_server_add(p->server, content);
    task_place_add(p, ref, name);
}

/* A file both sides can read. */
void task_place_add_file(struct task_place *p, const char *name, const char *path)
{
    struct source source;
    struct artifact_ref ref = {.path = text_of(arena_copy_text(&p->arena, text_of(path)))};
    assert_int_equal(source_open(&source, path, NULL), ERR_OK);
    ref.size_bytes = source.bytes.size;
    assert_int_equal(digest_of_artifact(source.bytes, &ref.digest), ERR_OK);
    source_close(&source);
    task_place_add(p, ref, name);
}

void task_place_add_recipe(struct task_place *p, const char *text)
{
    struct recipe recipe;
    struct bytes canonical;
    struct err_text et = {""};
    bytes_init(&canonical, 1 << 20);
    const struct recipe_options options = {.file_name = "test.yml"};
    struct span span = {(const uint8_t *)text, strlen(text)};
    if (recipe_read(span, &options, &recipe, &et) != ERR_OK)
        fail_msg("%s", et.text);
    recipe_write(&recipe, &canonical);
    assert_int_equal(bytes_status(&canonical), ERR_OK);
    task_place_add_bytes(p, "recipe", bytes_span(&canonical));
    recipe_fini(&recipe);
    bytes_fini(&canonical);
}

struct task_result task_place_run(struct task_place *p, struct task_spec spec)
{
    struct task_result result;
    struct err_text et = {""};
    spec.profile = TEXT("f32/1");
    spec.seed = 7;
    spec.inputs = p->inputs;
    spec.inputs_count = p->input_count;
    const struct task_call call = {.spec = &spec};
    if (task_execute(p->env, &call, &p->arena, &result, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return result;
}

uint64_t task_place_fact(const struct task_result *result, const char *name)
{
    for (uint32_t i = 0; i < result->facts_count; i++)
        if (text_is(result->facts[i].name, name))
            return result->facts[i].value;
    fail_msg("no fact %s", name);
    return 0;
}

struct artifact_ref task_place_output(const struct task_result *result, const char *name)
{
    for (uint32_t i = 0; i < result->outputs_count; i++)
        if (text_is(result->outputs[i].name, name))
            return result->outputs[i];
    fail_msg("no output %s", name);
    return (struct artifact_ref){.size_bytes = 0};
}
