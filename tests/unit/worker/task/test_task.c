/* test_task.c - every kind of task, one after the other, against a coordinator's bulk socket: from
 * text and a real model to an adapter folder. Skips what needs the data folder when it is absent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/dataset/rows.h"
#include "common/formats/peft/peft_verify.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "common/recipe/recipe.h"
#include "common/transport/transport.h"
#include "tests/lib/bulk_server.h"
#include "worker/cache/cache.h"
#include "worker/task/task.h"

enum { INPUTS_MAX = 32, ROUND_ROWS = 4, SAMPLES = 12 };

static const char recipe_text[] = "base_model: models/TinyStories-656K\n"
                                  "datasets:\n"
                                  "  - path: train.jsonl\n"
                                  "    type: prompt_completion\n"
                                  "val_set_size: 4\n"
                                  "sequence_len: 64\n"
                                  "micro_batch_size: 2\n"
                                  "gradient_accumulation_steps: 2\n"
                                  "max_steps: 2\n"
                                  "learning_rate: 1e-3\n"
                                  "adapter: lora\n"
                                  "lora_r: 4\n"
                                  "lora_alpha: 8\n"
                                  "lora_dropout: 0.1\n"
                                  "lora_target_modules: [q_proj, v_proj]\n";

/* A worker's half without the loop. */
struct place {
    char folder[64];
    struct bulk_server *server;
    struct cache *cache;
    struct task_env *env;
    struct arena arena;
    struct artifact_ref inputs[INPUTS_MAX];
    uint32_t input_count;
    uint64_t data_bytes;
};

static const char *data_folder(void)
{
    const char *folder = getenv("QFLEET_DATA");
    return folder != NULL ? folder : "../shared/data";
}

static struct place *place_open(void)
{
    struct place *p = mem_alloc(1, sizeof *p);
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

static void place_start(struct place *p, unsigned threads)
{
    const struct task_options options = {
        .cache = p->cache, .isa = KERNEL_ISA_BEST, .threads = threads, .memory_bytes = 1ull << 32};
    task_env_destroy(&p->env);
    assert_int_equal(task_env_create(&options, &p->env), ERR_OK);
}

static void place_close(struct place *p)
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

static void add_ref(struct place *p, struct artifact_ref ref, const char *name)
{
    assert_true(p->input_count < INPUTS_MAX);
    ref.name = text_of(arena_copy_text(&p->arena, text_of(name)));
    p->inputs[p->input_count++] = ref;
}

static void add_bytes(struct place *p, const char *name, struct span content)
{
    struct artifact_ref ref = {.size_bytes = content.size};
    ref.digest = bulk_server_add(p->server, content);
    add_ref(p, ref, name);
}

/* A file both sides can read. */
static void add_file(struct place *p, const char *name, const char *path)
{
    struct source source;
    struct artifact_ref ref = {.path = text_of(arena_copy_text(&p->arena, text_of(path)))};
    assert_int_equal(source_open(&source, path, NULL), ERR_OK);
    ref.size_bytes = source.bytes.size;
    assert_int_equal(digest_of_artifact(source.bytes, &ref.digest), ERR_OK);
    source_close(&source);
    add_ref(p, ref, name);
}

static void add_recipe(struct place *p, const char *text)
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
    add_bytes(p, "recipe", bytes_span(&canonical));
    recipe_fini(&recipe);
    bytes_fini(&canonical);
}

static void add_model(struct place *p)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json", "generation_config.json"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[512], name[64];
        (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/%s", data_folder(), names[i]);
        (void)snprintf(name, sizeof name, "model/%s", names[i]);
        if (file_exists(path))
            add_file(p, name, path);
    }
}

static void add_data(struct place *p)
{
    char text[8192];
    size_t used = 0;
    for (int i = 0; i < SAMPLES; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"prompt\": \"number %d\", \"completion\": \"there were %d cats "
                                 "in the house and %d dogs\"}\n",
                                 i, i * 7, i + 3);
    p->data_bytes = used;
    add_bytes(p, "data/0/train.jsonl", (struct span){(const uint8_t *)text, used});
}

static struct task_result run(struct place *p, struct task_spec spec)
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

static uint64_t fact_of(const struct task_result *result, const char *name)
{
    for (uint32_t i = 0; i < result->facts_count; i++)
        if (text_is(result->facts[i].name, name))
            return result->facts[i].value;
    fail_msg("no fact %s", name);
    return 0;
}

static struct artifact_ref output_of(const struct task_result *result, const char *name)
{
    for (uint32_t i = 0; i < result->outputs_count; i++)
        if (text_is(result->outputs[i].name, name))
            return result->outputs[i];
    fail_msg("no output %s", name);
    return (struct artifact_ref){.size_bytes = 0};
}

static bool prepare_place(struct place **out)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/models/TinyStories-656K/config.json", data_folder());
    if (!file_exists(path)) {
        print_message("skipped: no %s\n", path);
        return false;
    }
    *out = place_open();
    place_start(*out, 1);
    add_recipe(*out, recipe_text);
    add_model(*out);
    add_data(*out);
    return true;
}

/* prepare, pack and init; their outputs become inputs. */
static void run_until_training(struct place *p)
{
    struct task_result prepared =
        run(p, (struct task_spec){.kind = STAGE_KIND_PREPARE, .end = p->data_bytes});
    assert_int_equal(fact_of(&prepared, "samples"), SAMPLES);
    add_ref(p, output_of(&prepared, "samples"), "samples/train/0");
    struct task_result packed = run(p, (struct task_spec){.kind = STAGE_KIND_PACK});
    assert_int_equal(fact_of(&packed, "train_rows"), SAMPLES - 4);
    assert_int_equal(fact_of(&packed, "test_rows"), 4);
    add_ref(p, output_of(&packed, "rows"), "rows");
    add_ref(p, output_of(&packed, "test_rows"), "test_rows");
    struct task_result state = run(p, (struct task_spec){.kind = STAGE_KIND_INIT});
    assert_true(fact_of(&state, "parameters") > 0);
    add_ref(p, output_of(&state, "state"), "weights"); /* a state serves as weights */
    add_ref(p, output_of(&state, "state"), "state");
}

static struct task_spec range(uint64_t first, uint64_t end)
{
    return (struct task_spec){
        .kind = STAGE_KIND_TRAIN, .round = 1, .first = first, .end = end, .total = ROUND_ROWS};
}

static void test_task__a_job_runs_from_text_to_an_adapter_folder(void **state)
{
    (void)state;
    struct place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result trained = run(p, range(0, ROUND_ROWS));
    assert_true(isfinite(trained.loss_sum) && trained.weight > 0);
    assert_true(output_of(&trained, "gradient").ephemeral);
    const struct task_spec held_out = {.kind = STAGE_KIND_EVALUATE, .end = 4, .total = 4};
    struct task_result evaluated = run(p, held_out);
    assert_true(evaluated.loss_sum / evaluated.weight > 0);

    static const char log[] = "{\"epoch\": 0.5, \"grad_norm\": 1.5, \"learning_rate\": 0.001, "
                              "\"loss\": 5.25, \"step\": 1, \"tokens\": 90}\n"
                              "{\"epoch\": 0.5, \"is_eval\": true, \"loss\": 5.5, \"step\": 1}\n";
    add_bytes(p, "log", (struct span){(const uint8_t *)log, sizeof log - 1});
    struct task_result exported = run(p, (struct task_spec){.kind = STAGE_KIND_EXPORT});
    char folder[96];
    (void)snprintf(folder, sizeof folder, "%s/out", p->folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    char path[512];
    for (uint32_t i = 0; i < exported.outputs_count; i++) {
        const struct artifact_ref *ref = &exported.outputs[i];
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, TEXT_ARGS(ref->name));
        struct span content = bulk_server_find(p->server, ref->digest);
        assert_non_null(content.data);
        assert_int_equal(file_write_atomic(path, content, NULL), ERR_OK);
    }
    struct err_text et = {""};
    if (peft_verify_folder(folder, NULL, &et) != ERR_OK)
        fail_msg("%s", et.text);
    (void)output_of(&exported, "trainer_state.json");
    (void)output_of(&exported, "tokenizer.json");
    for (uint32_t i = 0; i < exported.outputs_count; i++) {
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, TEXT_ARGS(exported.outputs[i].name));
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
    place_close(p);
}

/* Two halves added are the whole, on one thread or two: the tree of the fold. */
static void test_task__ranges_add_up_to_the_same_bits(void **state)
{
    (void)state;
    struct place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result whole = run(p, range(0, ROUND_ROWS));
    place_start(p, 2);
    struct task_result left = run(p, range(0, ROUND_ROWS / 2));
    struct task_result right = run(p, range(ROUND_ROWS / 2, ROUND_ROWS));
    assert_true(left.loss_sum + right.loss_sum == whole.loss_sum);
    struct span a = bulk_server_find(p->server, output_of(&left, "gradient").digest);
    struct span b = bulk_server_find(p->server, output_of(&right, "gradient").digest);
    struct span c = bulk_server_find(p->server, output_of(&whole, "gradient").digest);
    const float *x = (const float *)(const void *)a.data, *y = (const float *)(const void *)b.data,
                *z = (const float *)(const void *)c.data;
    bool moved = false;
    assert_int_equal(a.size, c.size);
    for (size_t i = 0; i < c.size / sizeof *z; i++) {
        assert_true(x[i] + y[i] == z[i]);
        moved = moved || z[i] != 0;
    }
    assert_true(moved);
    place_close(p);
}

static bool stop_at_once(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    (void)done;
    (void)total;
    return false;
}

static void test_task__the_known_answer_tells_whole_steps_apart_and_not_threads(void **state)
{
    struct place *p = place_open();
    uint8_t kernels[KERNEL_KNOWN_ANSWER_BYTES];
    struct digest one, two;
    (void)state;
    place_start(p, 1);
    assert_int_equal(task_env_known_answer(p->env, &one), ERR_OK);
    place_start(p, 2);
    assert_int_equal(task_env_known_answer(p->env, &two), ERR_OK);
    assert_true(digest_equal(one, two));
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &kernel), ERR_OK);
    assert_int_equal(kernel_known_answer(kernel, kernels), ERR_OK);
    kernel_destroy(&kernel);
    assert_false(digest_equal(one, digest_of((struct span){kernels, sizeof kernels})));
    place_close(p);
}

static void test_task__a_stopped_task_ends_with_cancelled(void **state)
{
    (void)state;
    struct place *p;
    if (!prepare_place(&p))
        skip();
    run_until_training(p);
    struct task_result result = {.outputs = NULL};
    struct task_spec spec = range(0, ROUND_ROWS);
    spec.profile = TEXT("f32/1");
    spec.inputs = p->inputs;
    spec.inputs_count = p->input_count;
    const struct task_call call = {.spec = &spec, .progress = stop_at_once};
    assert_int_equal(task_execute(p->env, &call, &p->arena, &result, NULL), ERR_CANCELLED);
    assert_null(result.outputs);
    place_close(p);
}

static void test_task__bad_specs_are_errors_with_a_place(void **state)
{
    (void)state;
    struct place *p;
    if (!prepare_place(&p))
        skip();
    static const struct {
        uint32_t kind;
        const char *profile;
        uint64_t first, end, total;
        enum err expected;
        const char *detail;
    } cases[] = {
        {99, "f32/1", 0, 1, 1, ERR_UNSUPPORTED, "kind 99"},
        {STAGE_KIND_PREPARE, "f32/1", 0, 1 << 30, 1, ERR_PROTOCOL,
         "data/0/train.jsonl: bytes 0 to"},
        {STAGE_KIND_EXPORT, "f32/1", 0, 1, 1, ERR_NOT_FOUND, "the task was given no input"},
        {STAGE_KIND_TRAIN, "f64/9", 0, 1, 4, ERR_PROFILE, "f64/9"},
        {STAGE_KIND_TRAIN, "f32/1", 1, 3, 4, ERR_PROTOCOL, "rows 1 to 3 of 4"},
        {STAGE_KIND_TRAIN, "f32/1", 0, 8, 4, ERR_PROTOCOL, "rows 0 to 8 of 4"},
        {STAGE_KIND_EVALUATE, "f32/1", 0, 8, 8, ERR_PROTOCOL, "of the 4 held-out rows"},
    };
    run_until_training(p);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct task_spec spec = {.kind = cases[i].kind,
                                 .first = cases[i].first,
                                 .end = cases[i].end,
                                 .total = cases[i].total,
                                 .inputs = p->inputs,
                                 .inputs_count = p->input_count};
        spec.profile = text_of(cases[i].profile);
        const struct task_call call = {.spec = &spec};
        struct task_result result;
        struct err_text et = {""};
        assert_int_equal(task_execute(p->env, &call, &p->arena, &result, &et), cases[i].expected);
        if (strstr(et.text, cases[i].detail) == NULL)
            fail_msg("found \"%s\", expected \"%s\"", et.text, cases[i].detail);
    }
    place_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task__a_job_runs_from_text_to_an_adapter_folder),
        cmocka_unit_test(test_task__ranges_add_up_to_the_same_bits),
        cmocka_unit_test(test_task__the_known_answer_tells_whole_steps_apart_and_not_threads),
        cmocka_unit_test(test_task__a_stopped_task_ends_with_cancelled),
        cmocka_unit_test(test_task__bad_specs_are_errors_with_a_place),
    };
    if (transport_startup() != ERR_OK)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    transport_shutdown();
    return failed;
}
