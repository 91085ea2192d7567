/* server_verify.c - see server_verify.h. */
#include "coordinator/loop/server_verify.h"

#include "common/base/check.h"

enum err server_verify_state(struct artifact_store *artifacts, struct digest digest,
                             struct err_text *et)
{
    enum err err = artifact_check(artifacts, digest, et);
    if (err == ERR_DIGEST)
        return error_set(et, err, "the file on disk is damaged");
    if (err == ERR_NOT_FOUND)
        return error_set(et, err, "the file is gone");
    return err;
}

/* Whether the content of an input is there again. *et says why not. */
static bool restore(struct artifact_store *artifacts, const struct sched_work *work,
                    const struct artifact_ref *ref, struct err_text *et)
{
    struct digest digest;
    if (text_is(ref->name, "recipe"))
        return artifact_store_bytes(artifacts, work->recipe, &digest, et) == ERR_OK;
    return ref->path.size > 0 && ref->path.data[0] == '/' &&
           artifact_register_path(artifacts, ref->path.data, ref->digest, ref->size_bytes, et) ==
               ERR_OK;
}

/* Why `ref` cannot be had, for people. */
static struct text why(const struct artifact_ref *ref, enum err err, struct arena *arena)
{
    const char *text;
    if (ref->path.size > 0)
        text =
            arena_print(arena,
                        "%.*s changed since the job was submitted, or is gone; put the file back "
                        "and retry the job, or submit it again",
                        TEXT_ARGS(ref->path));
    else
        text = err == ERR_DIGEST ? "the file on disk is damaged" : "the file is gone";
    return text == NULL ? TEXT("it cannot be read") : text_of(text);
}

enum err server_verify_run(struct artifact_store *artifacts, const struct sched_work *work,
                           struct arena *arena, struct sched_work_done *done, struct err_text *et)
{
    struct sched_loss *lost = arena_alloc(arena, work->ref_count, sizeof *lost);
    if (lost == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < work->ref_count; i++) {
        const struct artifact_ref *ref = &work->refs[i];
        if (ref->ephemeral)
            continue;
        struct err_text ignored = {""};
        enum err err = artifact_check(artifacts, ref->digest, et);
        if (err == ERR_OK)
            continue;
        if (err != ERR_DIGEST && err != ERR_NOT_FOUND)
            return err;
        if (restore(artifacts, work, ref, &ignored))
            done->restored_count++;
        else
            lost[done->lost_count++] = (struct sched_loss){ref->digest, why(ref, err, arena)};
    }
    *et = (struct err_text){""};
    done->lost = lost;
    return ERR_OK;
}
