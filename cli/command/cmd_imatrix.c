/* cmd_imatrix.c - `qctl imatrix merge FILE... OUT`: importance matrices of several texts, or of
 * shares of one, become the one of all. */
#include <stdio.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/formats/imatrix/imatrix.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"

enum { JSON_BYTES_MAX = 1 << 16, NAMES_BYTES_MAX = 1 << 16 };

static bool ends_in(const char *path, const char *ending)
{
    size_t size = strlen(path), end = strlen(ending);
    return size > end && strcmp(path + size - end, ending) == 0;
}

static const char *form_name(enum imatrix_form form)
{
    return form == IMATRIX_LEGACY ? "legacy" : "gguf";
}

static enum err choose_form(const struct invocation *invocation, const struct imatrix *merged,
                            enum imatrix_form *out, struct err_text *et)
{
    const char *path = invocation->arguments[invocation->argument_count - 1];
    const char *name = command_text(invocation, "form");
    *out = merged->chunk_size == 0 ? IMATRIX_LEGACY : IMATRIX_GGUF;
    if (name == NULL && ends_in(path, ".dat"))
        *out = IMATRIX_LEGACY;
    else if (name == NULL && ends_in(path, ".gguf"))
        *out = IMATRIX_GGUF;
    else if (name != NULL && strcmp(name, "legacy") == 0)
        *out = IMATRIX_LEGACY;
    else if (name != NULL && strcmp(name, "gguf") == 0)
        *out = IMATRIX_GGUF;
    else if (name != NULL)
        return error_set(et, ERR_USAGE, "--form: expected legacy or gguf, found %s", name);
    if (*out == IMATRIX_GGUF && merged->chunk_size == 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: the GGUF form needs counts of tokens, %s counts calls; name a file "
                         "that ends in .dat",
                         path, invocation->arguments[0]);
    return ERR_OK;
}

/* The legacy form has room for one name of a text: "code.txt + prose.txt". */
static enum err join_names(struct imatrix *merged)
{
    struct bytes names;
    bytes_init(&names, NAMES_BYTES_MAX);
    for (size_t i = 0; i < merged->dataset_count; i++) {
        bool is_new = true;
        for (size_t k = 0; k < i && is_new; k++)
            is_new = !text_equal(merged->datasets[k], merged->datasets[i]);
        if (is_new && i > 0)
            bytes_append_text(&names, TEXT(" + "));
        if (is_new)
            bytes_append_text(&names, merged->datasets[i]);
    }
    enum err err = bytes_status(&names);
    struct text name = {(const char *)names.data, names.size};
    if (err == ERR_OK && merged->dataset_count > 1) {
        merged->datasets[0] = (struct text){arena_copy_text(&merged->arena, name), name.size};
        merged->dataset_count = 1;
        err = merged->datasets[0].data != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    }
    bytes_fini(&names);
    return err;
}

static enum err write_file(const struct imatrix *merged, enum imatrix_form form, const char *path,
                           struct err_text *et)
{
    struct file_writer file;
    TRY(file_writer_open(&file, path, et));
    enum err err = imatrix_write(merged, form, file_sink_writer, &file);
    if (err == ERR_OK)
        return file_writer_commit(&file, et);
    file_writer_abandon(&file);
    if (err == ERR_UNSUPPORTED)
        return error_set(et, err,
                         "%s: the legacy form holds neither experts nor more than 2^24 calls; name "
                         "a file that ends in .gguf",
                         path);
    return error_set(et, err, "%s: cannot be written: %s", path, error_text(err));
}

static enum err print(struct invocation *invocation, const struct imatrix *merged,
                      enum imatrix_form form)
{
    const char *path = invocation->arguments[invocation->argument_count - 1];
    if (!invocation->json) {
        (void)fprintf(invocation->messages, "%s: importance of %zu weights in %u chunks\n", path,
                      merged->count, merged->chunk_count);
        return ERR_OK;
    }
    struct json_write w;
    json_write_init(&w, JSON_WRITE_COMPACT, JSON_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, "path", text_of(path));
    json_write_text(&w, "form", text_of(form_name(form)));
    json_write_u64(&w, "files", invocation->argument_count - 1);
    json_write_u64(&w, "weights", merged->count);
    json_write_u64(&w, "chunks", merged->chunk_count);
    json_write_object_end(&w);
    return command_print_json(invocation, &w);
}

enum err cmd_imatrix_merge(struct invocation *invocation, struct err_text *et)
{
    struct imatrix parts[COMMAND_ARGUMENTS_MAX] = {{.count = 0}};
    const struct imatrix *list[COMMAND_ARGUMENTS_MAX];
    struct imatrix merged = {.count = 0};
    const size_t count = invocation->argument_count - 1;
    const char *path = invocation->arguments[count];
    enum imatrix_form form = IMATRIX_GGUF;
    if (folder_exists(path) || file_exists(path))
        return error_set(et, ERR_EXISTS, "%s: exists already; name a new one", path);
    enum err err;
    for (size_t i = 0; i < count; i++) {
        TRY_OUT(imatrix_open(&parts[i], invocation->arguments[i], et));
        list[i] = &parts[i];
    }
    err = imatrix_merge(list, count, &merged, et);
    if (err == ERR_SHAPE)
        TRY_OUT(error_prefix(et, err, "files of two models"));
    TRY_OUT(err);
    TRY_OUT(choose_form(invocation, &merged, &form, et));
    if (form == IMATRIX_LEGACY)
        TRY_OUT(join_names(&merged));
    TRY_OUT(write_file(&merged, form, path, et));
    err = print(invocation, &merged, form);
out:
    for (size_t i = 0; i < count; i++)
        imatrix_close(&parts[i]);
    imatrix_close(&merged);
    return err;
}
