/* convert_folders.c - see convert_folders.h. */
#include "tests/unit/common/formats/convert/convert_folders.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/formats/source/folder.h"
#include "common/mem/arena.h"

void convert_folders_make(struct convert_folders *f)
{
    (void)snprintf(f->root, sizeof f->root, "/tmp/qfleet-convert-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->gguf, sizeof f->gguf, "%s/model.gguf", f->root);
    (void)snprintf(f->adapter, sizeof f->adapter, "%s/adapter.gguf", f->root);
    (void)snprintf(f->back, sizeof f->back, "%s/back", f->root);
}

static void remove_files(const char *folder)
{
    struct arena arena;
    struct folder_listing listing;
    arena_init(&arena, 1 << 20);
    if (folder_list(folder, &arena, &listing, NULL) == ERR_OK) {
        for (size_t i = 0; i < listing.count; i++)
            (void)unlink(folder_join(&arena, folder, listing.entries[i].name));
        (void)rmdir(folder);
    }
    arena_fini(&arena);
}

void convert_folders_remove(const struct convert_folders *f)
{
    remove_files(f->back);
    remove_files(f->root);
}

bool convert_folders_real(const char *name, char *out, size_t out_bytes)
{
    const char *data = getenv("QFLEET_DATA");
    (void)snprintf(out, out_bytes, "%s/%s", data != NULL ? data : "../shared/data", name);
    if (access(out, R_OK) == 0)
        return true;
    print_message("%s is not there: skipped\n", out);
    return false;
}

void convert_folders_to_gguf(const struct convert_folders *f, const char *model,
                             enum block_format format)
{
    const struct convert_model_options options = {.name = "test", .format = format};
    struct convert_model_report report;
    struct err_text et = {{0}};
    if (convert_model_to_gguf(model, f->gguf, &options, &report, &et) != ERR_OK)
        fail_msg("%s", et.text);
}

float convert_folders_value(enum block_format format, const uint8_t *data, uint64_t index)
{
    float value;
    convert_float_decode(format, 1, data + index * block_format_bytes(format), &value);
    return value;
}

void convert_folders_sha256(struct span data, char out[65])
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, data.data, data.size);
    (void)sodium_bin2hex(out, 65, hash, sizeof hash);
}
