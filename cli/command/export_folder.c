/* export_folder.c - see export_folder.h. */
#include "cli/command/export_folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command/results.h"
#include "common/base/check.h"
#include "common/digest/digest.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/bytes.h"

enum { CARD_BYTES_MAX = 16 << 20, NAMES_MAX = 6, NAMES_BYTES = 320 };

/* What is written beside the outputs. */
static const char *const own[] = {"README.md", "recipe.yml", "Modelfile", "chat_template.jinja"};

/* What lies in the way. */
struct obstacles {
    const char *folder;
    uint32_t count;
    char names[NAMES_BYTES]; /* the first of them */
};

static bool path_of(const struct obstacles *o, struct text name, char path[LIMIT_PATH_BYTES])
{
    int size = snprintf(path, LIMIT_PATH_BYTES, "%s/%.*s", o->folder, TEXT_ARGS(name));
    return folder_path_is_plain(name) && size > 0 && size < LIMIT_PATH_BYTES;
}

/* The card says which job it is of: its recipe and data, by their hash. */
static bool is_earlier_export(const struct obstacles *o, const struct msg_job *job)
{
    char path[LIMIT_PATH_BYTES], hex[DIGEST_HEX_BYTES];
    struct bytes card;
    struct err_text ignored;
    bytes_init(&card, CARD_BYTES_MAX + 1);
    digest_hex(job->row.spec, hex);
    bool found = path_of(o, TEXT("README.md"), path) && file_exists(path) &&
                 file_read(path, CARD_BYTES_MAX, &card, &ignored) == ERR_OK;
    bytes_append(&card, "", 1);
    found = found && bytes_status(&card) == ERR_OK && strstr((const char *)card.data, hex) != NULL;
    bytes_fini(&card);
    return found;
}

static bool holds(const char *path, const struct artifact_ref *ref)
{
    struct source source;
    struct err_text ignored;
    struct digest digest;
    if (!file_exists(path) || source_open(&source, path, &ignored) != ERR_OK)
        return false;
    bool is_same = source.bytes.size == ref->size_bytes &&
                   digest_of_artifact(source.bytes, &digest) == ERR_OK &&
                   digest_equal(digest, ref->digest);
    source_close(&source);
    return is_same;
}

/* `ref` NULL: whatever is there is in the way. */
static void look_at(struct obstacles *o, struct text name, const struct artifact_ref *ref)
{
    char path[LIMIT_PATH_BYTES];
    struct stat status;
    size_t used = strlen(o->names);
    if (!path_of(o, name, path) || (lstat(path, &status) != 0 && errno == ENOENT) ||
        (ref != NULL && holds(path, ref)))
        return;
    if (o->count++ < NAMES_MAX)
        (void)snprintf(o->names + used, sizeof o->names - used, "%s%.*s", used > 0 ? ", " : "",
                       TEXT_ARGS(name));
}

static void look_at_all(struct obstacles *o, const struct msg_job *job, struct text under)
{
    bool is_output[COUNT_OF(own)] = {false};
    for (uint32_t i = 0; i < job->outputs_count; i++) {
        struct artifact_ref ref = job->outputs[i];
        if (!results_take(&ref, under))
            continue;
        look_at(o, ref.name, &ref);
        for (size_t k = 0; k < COUNT_OF(own); k++)
            is_output[k] = is_output[k] || text_is(ref.name, own[k]);
    }
    for (size_t k = 0; k < COUNT_OF(own); k++)
        if (!is_output[k])
            look_at(o, text_of(own[k]), NULL);
}

enum err export_folder_check(const struct msg_job *job, struct text under, const char *folder,
                             struct err_text *et)
{
    struct obstacles o = {.folder = folder};
    TRY(folder_check_writable(folder, et));
    if (!folder_exists(folder) || is_earlier_export(&o, job))
        return ERR_OK;
    look_at_all(&o, job, under);
    if (o.count == 0)
        return ERR_OK;
    return error_set(et, ERR_EXISTS,
                     "%s: %s%s would be overwritten, and README.md there is not this job's card; "
                     "give another folder, or move them away",
                     folder, o.names, o.count > NAMES_MAX ? ", ..." : "");
}

static void remove_named(const struct obstacles *o, struct text name)
{
    char path[LIMIT_PATH_BYTES];
    if (!path_of(o, name, path))
        return;
    (void)unlink(path);
    for (char *slash = strrchr(path, '/'); slash > path + strlen(o->folder);
         slash = strrchr(path, '/')) {
        *slash = '\0';
        (void)rmdir(path);
    }
}

void export_folder_take_back(const struct msg_job *job, struct text under, const char *folder)
{
    const struct obstacles o = {.folder = folder};
    for (uint32_t i = 0; i < job->outputs_count; i++) {
        struct artifact_ref ref = job->outputs[i];
        if (results_take(&ref, under))
            remove_named(&o, ref.name);
    }
    for (size_t k = 0; k < COUNT_OF(own); k++)
        remove_named(&o, text_of(own[k]));
    (void)rmdir(folder);
}
