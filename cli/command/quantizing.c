/* quantizing.c - switches read, the kernel lent to the conversion. */
#include "cli/command/quantizing.h"

#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/engine/quant/blocks.h"

enum { CHOICES_BYTES = 256 };

/* Both enums are the rows of block_format.def. */
void quantizing_decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    kernel_encode(context, (enum dtype)format, rows, columns, x, importance, out);
}

bool quantizing_is_asked(const struct invocation *invocation, const char **which)
{
    static const char *const names[] = {"imatrix", "output-tensor-type", "token-embedding-type",
                                        "tensor-type"};
    static const char *const flags[] = {"pure", "leave-output-tensor", "allow-requantize"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        *which = names[i];
        if (command_text(invocation, names[i]) != NULL)
            return true;
    }
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        *which = flags[i];
        if (command_flag(invocation, flags[i]))
            return true;
    }
    return false;
}

/* A format by its name in GGUF, in any case. */
static enum err read_format(const char *option, const char *name, enum block_format *out,
                            struct err_text *et)
{
    *out = block_format_named(text_of(name));
    if (*out != BLOCK_FORMAT_COUNT)
        return ERR_OK;
    return error_set(et, ERR_USAGE, "--%s: expected a tensor type (F16, Q8_0, Q6_K, ...), found %s",
                     option, name);
}

static enum err read_exceptions(struct quantizing *q, const struct invocation *invocation,
                                struct err_text *et)
{
    const char *given[QUANTIZING_EXCEPTIONS_MAX];
    size_t count = command_texts(invocation, "tensor-type", given, COUNT_OF(given));
    if (count > COUNT_OF(given))
        return error_set(et, ERR_USAGE, "--tensor-type: expected at most %zu, found %zu",
                         COUNT_OF(given), count);
    for (size_t i = 0; i < count; i++) {
        const char *equals = strrchr(given[i], '=');
        if (equals == NULL || equals == given[i])
            return error_set(et, ERR_USAGE, "--tensor-type: expected PATTERN=TYPE, found %s",
                             given[i]);
        struct convert_exception *e = &q->exceptions[i];
        e->pattern =
            arena_copy_text(&q->arena, (struct text){given[i], (size_t)(equals - given[i])});
        if (e->pattern == NULL)
            return error_set(et, ERR_OUT_OF_MEMORY, "out of memory");
        TRY(read_format("tensor-type", equals + 1, &e->format, et));
    }
    q->quantize.exceptions = q->exceptions;
    q->quantize.exception_count = count;
    return ERR_OK;
}

static enum err read_switches(struct quantizing *q, const struct invocation *invocation,
                              struct err_text *et)
{
    const char *type = command_text(invocation, "type");
    const char *head = command_text(invocation, "output-tensor-type");
    const char *embedding = command_text(invocation, "token-embedding-type");
    char choices[CHOICES_BYTES];
    q->quantize.mix = type != NULL ? convert_mix_named(type) : NULL;
    if (q->quantize.mix == NULL) {
        convert_mix_choices(choices, sizeof choices);
        return error_set(et, ERR_USAGE, "--type: expected keep, f32, f16, bf16 or %s, found %s",
                         choices, type != NULL ? type : "none");
    }
    q->quantize.switches = (struct convert_mix_switches){
        .pure = command_flag(invocation, "pure"),
        .leave_head = command_flag(invocation, "leave-output-tensor"),
        .head = CONVERT_MIX_ANY,
        .embedding = CONVERT_MIX_ANY,
    };
    q->quantize.allow_requantize = command_flag(invocation, "allow-requantize");
    if (head != NULL)
        TRY(read_format("output-tensor-type", head, &q->quantize.switches.head, et));
    if (embedding != NULL)
        TRY(read_format("token-embedding-type", embedding, &q->quantize.switches.embedding, et));
    return read_exceptions(q, invocation, et);
}

enum err quantizing_open(struct quantizing *q, const struct invocation *invocation,
                         struct err_text *et)
{
    const char *importance = command_text(invocation, "imatrix");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = MIN((uint64_t)MAX(cores, 1), (uint64_t)KERNEL_THREADS_MAX);
    enum err err;
    arena_init(&q->arena, SIZE_MAX); /* bounded by the command line */
    TRY_OUT(read_switches(q, invocation, et));
    TRY_OUT(command_u64(invocation, "threads", 1, KERNEL_THREADS_MAX, &threads, et));
    if (importance != NULL) {
        TRY_OUT(imatrix_open(&q->importance, importance, et));
        q->quantize.importance = &q->importance;
        q->quantize.importance_file = importance;
    }
    TRY_OUT(kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, (unsigned)threads, &q->kernel));
    q->quantize.encoder = (struct convert_encoder){encode, quantizing_decode, q->kernel};
    return ERR_OK;
out:
    quantizing_close(q);
    return err;
}

void quantizing_close(struct quantizing *q)
{
    kernel_destroy(&q->kernel);
    imatrix_close(&q->importance);
    arena_fini(&q->arena);
    *q = (struct quantizing){0};
}
