/* aggregate_marks.c - a hash of each tensor of a state, kept with the ledger: the name of a damaged
 * file says that it is damaged, these say where. */
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/json/json_read.h"
#include "common/formats/json/json_write.h"
#include "common/mem/mem.h"
#include "coordinator/aggregate/aggregate_state.h"
#include "schemas/state_file.def"

enum { LINE_BYTES_MAX = 1 << 16, ARRAYS = 3, NAMED_MAX = 3 };

static const char *const prefixes[ARRAYS] = {STATE_FILE_WEIGHT, STATE_FILE_EXP_AVG,
                                             STATE_FILE_EXP_AVG_SQ};

struct marking {
    const struct aggregate *aggregate;
    struct digest *digests; /* owned: ARRAYS a parameter */
};

static void mark(void *context, size_t index)
{
    struct marking *m = context;
    const struct aggregate *a = m->aggregate;
    const float *arrays[ARRAYS] = {a->weights, a->exp_avg, a->exp_avg_sq};
    const struct aggregate_parameter *p = &a->parameters[index / ARRAYS];
    const float *values = arrays[index % ARRAYS] + p->begin;
    m->digests[index] =
        digest_of((struct span){(const uint8_t *)values, p->count * sizeof *values});
}

static enum err write_line(const struct marking *m, size_t index, struct bytes *out)
{
    const struct aggregate_parameter *p = &m->aggregate->parameters[index / ARRAYS];
    char hex[DIGEST_HEX_BYTES];
    struct bytes name;
    struct json_write w;
    digest_hex(m->digests[index], hex);
    bytes_init(&name, LINE_BYTES_MAX);
    bytes_print(&name, "%s%.*s", prefixes[index % ARRAYS], TEXT_ARGS(p->name));
    json_write_init(&w, JSON_WRITE_LINE, LINE_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "tensor", (struct text){(const char *)name.data, name.size});
    json_write_text(&w, "digest", text_of(hex));
    json_write_object_end(&w);
    enum err err = bytes_status(&name);
    enum err closed = json_write_close(&w, out);
    bytes_fini(&name);
    bytes_append(out, "\n", 1);
    TRY(err);
    TRY(closed);
    return bytes_status(out);
}

enum err aggregate_write_marks(const struct aggregate *aggregate, struct bytes *out)
{
    size_t count = aggregate->parameter_count * ARRAYS;
    struct marking m = {aggregate, mem_alloc(count, sizeof(struct digest))};
    enum err err = m.digests == NULL ? ERR_OUT_OF_MEMORY : ERR_OK;
    if (err == ERR_OK && aggregate->settings.parallel != NULL)
        aggregate->settings.parallel(count, mark, &m);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        if (aggregate->settings.parallel == NULL)
            mark(&m, i);
        err = write_line(&m, i, out);
    }
    mem_free(m.digests);
    return err;
}

/* A line of the ledger that marks a tensor. False: it is another line, or none of ours. */
static bool read_mark(struct span line, struct arena *arena, struct text *tensor,
                      struct digest *digest)
{
    struct json_read_options options = {.name = "ledger", .size_bytes_max = LINE_BYTES_MAX};
    struct json_doc *doc = NULL;
    struct text name, hex;
    struct err_text et;
    if (json_read_parse(line, &options, &doc, &et) != ERR_OK)
        return false;
    struct json_value root = json_read_root(doc);
    bool is_mark = !json_read_is_absent(json_read_find(root, "tensor")) &&
                   json_read_text(root, "tensor", &name, &et) == ERR_OK &&
                   json_read_text(root, "digest", &hex, &et) == ERR_OK &&
                   digest_parse(hex, digest) == ERR_OK;
    if (is_mark)
        *tensor = (struct text){arena_copy_text(arena, name), name.size};
    json_read_close(&doc);
    return is_mark && tensor->data != NULL;
}

/* "weight.a, weight.b, ..." of those that are not as they were marked. */
static void compare(const struct safetensors *st, struct span ledger, struct arena *arena,
                    struct err_text *out)
{
    char names[sizeof out->text / 2] = "";
    size_t damaged = 0, marked = 0, used = 0;
    while (ledger.size > 0) {
        const uint8_t *newline = memchr(ledger.data, '\n', ledger.size);
        size_t size = newline == NULL ? ledger.size : (size_t)(newline - ledger.data);
        struct digest expected;
        struct text name;
        if (read_mark((struct span){ledger.data, size}, arena, &name, &expected)) {
            const struct safetensor *tensor = safetensors_find(st, name);
            marked++;
            if (tensor == NULL || !digest_equal(digest_of(tensor->data), expected)) {
                if (damaged++ < NAMED_MAX && used < sizeof names)
                    used += (size_t)snprintf(names + used, sizeof names - used, "%s%.*s",
                                             damaged > 1 ? ", " : "", TEXT_ARGS(name));
            }
        }
        size += newline != NULL;
        ledger = (struct span){ledger.data + size, ledger.size - size};
    }
    if (marked == 0)
        (void)snprintf(out->text, sizeof out->text, "its ledger does not say in which tensor");
    else if (damaged == 0)
        (void)snprintf(out->text, sizeof out->text, "no tensor is concerned, only its head");
    else
        (void)snprintf(out->text, sizeof out->text, "%zu of %zu tensors are concerned: %s%s",
                       damaged, marked, names, damaged > NAMED_MAX ? ", ..." : "");
}

void aggregate_find_damage(struct span state, struct span ledger, struct err_text *out)
{
    struct safetensors st;
    struct arena arena;
    struct err_text why = {""};
    if (safetensors_parse(&st, state, "the state", &why) != ERR_OK) {
        (void)snprintf(out->text, sizeof out->text, "its head is damaged: %.200s", why.text);
        return;
    }
    arena_init(&arena, (size_t)256 << 20);
    compare(&st, ledger, &arena, out);
    arena_fini(&arena);
    safetensors_close(&st);
}
