/* convert_folders.h - what the tests of conversions share: places for files, real data. */
#ifndef TESTS_UNIT_COMMON_FORMATS_CONVERT_CONVERT_FOLDERS_H
#define TESTS_UNIT_COMMON_FORMATS_CONVERT_CONVERT_FOLDERS_H

#include <stdbool.h>

#include "common/formats/convert/convert_model.h"

#define CONVERT_FAMILIES "tests/golden/families"

struct convert_folders {
    char root[64];
    char gguf[128];    /* a file in root that is not there yet */
    char adapter[128]; /* another */
    char back[128];    /* a folder in root that is not there yet */
};

void convert_folders_make(struct convert_folders *folders);

/* Removes all files in them and themselves. */
void convert_folders_remove(const struct convert_folders *folders);

/* Path of a file of the real data; false when it is not there. */
bool convert_folders_real(const char *name, char *out, size_t out_bytes);

/* Converts a model folder to folders->gguf; the test fails when that does. */
void convert_folders_to_gguf(const struct convert_folders *folders, const char *model,
                             enum block_format format);

/* As convert_float_decode, of element `index`. */
float convert_folders_value(enum block_format format, const uint8_t *data, uint64_t index);

/* SHA-256 as 64 hexadecimal characters. */
void convert_folders_sha256(struct span data, char out[65]);

#endif
