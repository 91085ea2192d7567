/* quantizing.c - switches read, the kernel lent to the conversion. */
#include "cli/command/quantizing.h"

#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_type.h"
#include "worker/engine/kernel/kernel.h"
#include "worker/task/task_encoder.h"

enum { CHOICES_BYTES = 256 };

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

static enum err read_exceptions(struct quantizing *q, const struct invocation *invocation,
                                struct err_text *et)
{
    const struct convert_type_place place = {"--tensor-type", ERR_USAGE};
    const char *given[QUANTIZING_EXCEPTIONS_MAX];
    size_t count = command_texts(invocation, "tensor-type", given, COUNT_OF(given));
    if (count > COUNT_OF(given))
        return error_set(et, ERR_USAGE, "--tensor-type: expected at most %zu, found %zu",
                         COUNT_OF(given), count);
    for (size_t i = 0; i < count; i++)
        TRY(convert_type_read_exception(&place, given[i], &q->arena, &q->exceptions[i], et));
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
    const struct convert_type_place head_place = {"--output-tensor-type", ERR_USAGE};
    const struct convert_type_place embedding_place = {"--token-embedding-type", ERR_USAGE};
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
        TRY(convert_type_read(&head_place, head, &q->quantize.switches.head, et));
    if (embedding != NULL)
        TRY(convert_type_read(&embedding_place, embedding, &q->quantize.switches.embedding, et));
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
    q->quantize.encoder = task_encoder(q->kernel);
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
