/* peft_config.h - adapter_config.json of a LoRA, read tolerantly and written completely.
 *
 * Written are the keys that every PEFT since 0.10 knows, sorted, each with its value; keys of later
 * versions stay away, since older ones refuse what they do not know and the defaults are meant.
 * Refuses to know: tensors.
 */
#ifndef COMMON_FORMATS_PEFT_PEFT_CONFIG_H
#define COMMON_FORMATS_PEFT_PEFT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"

enum { PEFT_CONFIG_SIZE_BYTES_MAX = 4 << 20, PEFT_CONFIG_RANK_MAX = 1 << 16 };

/* A row of rank_pattern or alpha_pattern: modules whose name is `suffix` or ends in ".suffix". */
struct peft_pattern {
    struct text suffix;
    double value;
};

/* Texts and lists are borrowed: from the caller when writing, from the arena when read. */
struct peft_config {
    struct text base_model; /* base_model_name_or_path; data NULL: null */
    struct text revision;   /* data NULL: null */
    uint32_t r;
    double lora_alpha;
    double lora_dropout; /* [0, 1) */
    bool use_rslora;     /* scale = alpha / sqrt(r) (Kalajdzievski 2023) instead of alpha / r */
    bool use_dora;
    bool fan_in_fan_out;
    struct text target_expression; /* target_modules as one text: a regular expression or
                                      "all-linear"; data NULL: the list below */
    const struct text *target_modules;
    size_t target_count;
    const struct text *modules_to_save;
    size_t save_count;
    const struct peft_pattern *rank_patterns;
    size_t rank_pattern_count;
    const struct peft_pattern *alpha_patterns;
    size_t alpha_pattern_count;
};

/* Reads the file; everything it holds goes into the arena. ERR_NOT_FOUND, ERR_IO; ERR_FORMAT with
 * file and key; ERR_UNSUPPORTED for what is not a LoRA of ours to read (another peft_type, trained
 * biases). On failure *config is untouched. */
MUST_CHECK enum err peft_config_open(struct peft_config *config, const char *path,
                                     struct arena *arena, struct err_text *et);
MUST_CHECK enum err peft_config_parse(struct peft_config *config, struct span content,
                                      const char *name, struct arena *arena, struct err_text *et);

/* Appends the file. Lists come out sorted. ERR_FORMAT when a text is not UTF-8 or a pattern occurs
 * twice, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err peft_config_print(const struct peft_config *config, struct bytes *out);

/* Rank and alpha of a module: those of the first pattern that fits, else r and lora_alpha. */
uint32_t peft_config_rank_of(const struct peft_config *config, struct text module);
double peft_config_alpha_of(const struct peft_config *config, struct text module);

/* What B A is multiplied with. */
double peft_config_scale_of(const struct peft_config *config, struct text module);

/* Whether `module` is `suffix` or ends in ".suffix". */
bool peft_config_suffix_fits(struct text module, struct text suffix);

#endif
