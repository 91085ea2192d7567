/* bench_tokenizer.c - megabytes a second of one thread, and how long opening takes.
 *
 *   bench_tokenizer TOKENIZER TEXT [rounds]
 *
 * The text is encoded as one string, and line by line (line ends included), `rounds` times each in
 * turns; the medians are printed. tokenizer_speed.py sets them beside those of another library.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"
#include "common/formats/source/source.h"
#include "common/formats/tokenizer/tokenizer.h"

enum { ROUNDS_DEFAULT = 7, ROUNDS_MAX = 101 };

struct bench {
    struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct token_list ids;
    struct text text;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void encode(struct bench *b, struct text text)
{
    enum err err = tokenizer_encode(b->tokenizer, b->scratch, text, 0, &b->ids);
    ASSERT(err == ERR_OK);
}

static double time_whole(struct bench *b)
{
    double start = seconds();
    b->ids.count = 0;
    encode(b, b->text);
    return seconds() - start;
}

static double time_lines(struct bench *b)
{
    double start = seconds();
    b->ids.count = 0;
    for (struct text left = b->text; left.size > 0;) {
        const char *end = memchr(left.data, '\n', left.size);
        size_t size = end == NULL ? left.size : (size_t)(end - left.data) + 1;
        encode(b, (struct text){left.data, size});
        left = (struct text){left.data + size, left.size - size};
    }
    return seconds() - start;
}

static int by_time(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static void report(const char *what, const struct bench *b, double *times, size_t count,
                   size_t tokens)
{
    qsort(times, count, sizeof(*times), by_time);
    printf("%s %.2f MB/s, %zu tokens\n", what, (double)b->text.size * 1e-6 / times[count / 2],
           tokens);
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: bench_tokenizer TOKENIZER TEXT [rounds]";
    struct bench b = {0};
    struct err_text et = {{0}};
    struct source source = {0};
    double whole[ROUNDS_MAX], lines[ROUNDS_MAX];
    size_t tokens[2] = {0};
    size_t rounds = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : ROUNDS_DEFAULT;
    if (argc < 3 || rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    double start = seconds();
    if (tokenizer_open(argv[1], &b.tokenizer, &et) != ERR_OK ||
        source_open(&source, argv[2], &et) != ERR_OK ||
        tokenizer_scratch_create(b.tokenizer, &b.scratch) != ERR_OK) {
        fprintf(stderr, "%s\n", et.text);
        return 1;
    }
    printf("open %.3f s\n", seconds() - start);
    token_list_init(&b.ids);
    b.text = (struct text){(const char *)source.bytes.data, source.bytes.size};
    for (size_t i = 0; i < rounds; i++) {
        whole[i] = time_whole(&b);
        tokens[0] = b.ids.count;
        lines[i] = time_lines(&b);
        tokens[1] = b.ids.count;
    }
    report("whole", &b, whole, rounds, tokens[0]);
    report("lines", &b, lines, rounds, tokens[1]);
    token_list_fini(&b.ids);
    tokenizer_scratch_destroy(&b.scratch);
    tokenizer_close(&b.tokenizer);
    source_close(&source);
    return 0;
}
