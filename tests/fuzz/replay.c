/* replay.c - runs a fuzz target over the files of its corpus, without libFuzzer.
 *
 * Each file is also cut short at every length (up to a ceiling): a parser that reads beyond a
 * truncated input is caught by the sanitizers here already.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/formats/source/source.h"
#include "common/mem/mem.h"
#include "tests/fuzz/fuzz.h"

enum { CUTS_MAX = 512 };

/* In memory of exactly its size, so that one byte too far is out of bounds. */
static void run_cut(struct span content, size_t size)
{
    uint8_t *copy = mem_alloc(size, 1);
    ASSERT(copy != NULL);
    if (size > 0)
        memcpy(copy, content.data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    mem_free(copy);
}

static void run_file(const char *path)
{
    struct source source;
    struct err_text et = {{0}};
    if (source_open(&source, path, &et) != ERR_OK) {
        (void)fprintf(stderr, "%s\n", et.text);
        exit(1);
    }
    size_t step = source.bytes.size / CUTS_MAX + 1;
    for (size_t size = 0; size < source.bytes.size; size += step)
        run_cut(source.bytes, size);
    run_cut(source.bytes, source.bytes.size);
    source_close(&source);
}

int main(int argc, char **argv)
{
    struct arena arena;
    struct folder_listing listing;
    struct err_text et = {{0}};
    arena_init(&arena, 1 << 24);
    if (argc != 2 || folder_list(argv[1], &arena, &listing, &et) != ERR_OK) {
        (void)fprintf(stderr, "usage: %s FOLDER\n%s\n", argv[0], et.text);
        return 2;
    }
    for (size_t i = 0; i < listing.count; i++)
        run_file(folder_join(&arena, argv[1], listing.entries[i].name));
    (void)printf("%zu files of %s replayed\n", listing.count, argv[1]);
    size_t count = listing.count;
    arena_fini(&arena);
    return count > 0 ? 0 : 1;
}
