/* hf_folder.h - which files of a folder make up a model, and which the tokenizer.
 *
 * Freezing a job records the digest of each; nothing else in the folder matters (optimizer state,
 * pickles, other formats of the same weights are left out).
 */
#ifndef COMMON_FORMATS_HF_HF_FOLDER_H
#define COMMON_FORMATS_HF_HF_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/mem/arena.h"

enum hf_folder_kind {
    HF_FOLDER_CONFIG,    /* config.json, generation_config.json */
    HF_FOLDER_WEIGHTS,   /* model.safetensors, or the index and its shards */
    HF_FOLDER_TOKENIZER, /* tokenizer.json, tokenizer.model, vocab.json, merges.txt, ... */
    HF_FOLDER_TEMPLATE,  /* chat_template.jinja, chat_template.json */
    HF_FOLDER_KIND_COUNT
};

struct hf_folder_file {
    const char *name; /* in the folder */
    enum hf_folder_kind kind;
    uint64_t size_bytes;
};

struct hf_folder {
    struct hf_folder_file *files; /* sorted by name; in the arena */
    size_t count;
};

/* Lists the model's files in `path`. ERR_NOT_FOUND when the folder, its config.json or its weights
 * are missing, with what was expected in `et`; a tokenizer may be missing. */
MUST_CHECK enum err hf_folder_list(const char *path, struct arena *arena, struct hf_folder *folder,
                                   struct err_text *et);

/* The same without asking for weights: a folder that holds a config and a tokenizer, from which a
 * model is made. */
MUST_CHECK enum err hf_folder_list_unweighted(const char *path, struct arena *arena,
                                              struct hf_folder *folder, struct err_text *et);

#endif
