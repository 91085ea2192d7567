/* recipe.h - what a user asks for: the keys of schemas/recipe.def with every default settled.
 *
 * There are two texts of a recipe. What people write is read by recipe_read: aliases, notices, keys
 * of other trainers, messages with line and column. What a job is frozen with is the canonical text
 * of recipe_write: one line a key, sorted, every settled value, no notices; recipe_parse reads it
 * back and gives an equal recipe. Coordinator and workers only ever see the canonical text.
 *
 * Paths stay as they were written: a job's text must not depend on where the recipe lies. The
 * client resolves them (recipe_path) and hands over files as artifacts.
 *
 * Refuses to know: files, models, what the values do. The only folder that knows libyaml.
 */
#ifndef COMMON_RECIPE_RECIPE_H
#define COMMON_RECIPE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/span.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "schemas/recipe.def"

#define RECIPE_ENUMERATOR(LIST, name, word) RECIPE_##LIST##_##name,
#define RECIPE_ENUM(LIST, list)                                                                    \
    enum recipe_##list{RECIPE_##LIST##_WORDS(RECIPE_ENUMERATOR) RECIPE_##LIST##_COUNT};
RECIPE_ENUM_ROWS(RECIPE_ENUM)
#undef RECIPE_ENUM
#undef RECIPE_ENUMERATOR

/* One member of a structure, by kind. */
#define RECIPE_MEMBER_TEXT(type, name)     const char *name;
#define RECIPE_MEMBER_PATH(type, name)     const char *name;
#define RECIPE_MEMBER_U64(type, name)      uint64_t name;
#define RECIPE_MEMBER_I64(type, name)      int64_t name;
#define RECIPE_MEMBER_F64(type, name)      double name;
#define RECIPE_MEMBER_SIZE(type, name)     uint64_t name; /* bytes */
#define RECIPE_MEMBER_DURATION(type, name) uint64_t name; /* milliseconds */
#define RECIPE_MEMBER_BOOL(type, name)     bool name;
#define RECIPE_MEMBER_ENUM(type, name)     enum recipe_##type name;
#define RECIPE_MEMBER_WORDS(type, name)                                                            \
    const char **name;                                                                             \
    size_t name##_count;
#define RECIPE_MEMBER_PAIRS(type, name)  RECIPE_MEMBER_WORDS(type, name)
#define RECIPE_MEMBER_OBJECT(type, name) struct recipe_##type name;
#define RECIPE_MEMBER_OBJECTS(type, name)                                                          \
    struct recipe_##type *name;                                                                    \
    size_t name##_count;
#define RECIPE_MEMBER(self, kind, type, name, fallback, min, max, help)                            \
    RECIPE_MEMBER_##kind(type, name)

#define RECIPE_STRUCT(NAME, name)                                                                  \
    struct recipe_##name {                                                                         \
        RECIPE_##NAME##_ROWS(RECIPE_MEMBER, recipe_##name)                                         \
    };
RECIPE_STRUCT_ROWS(RECIPE_STRUCT)
#undef RECIPE_STRUCT

/* Keys of the recipe itself, in sorted order: RECIPE_KEY_base_model. */
enum recipe_key {
#define RECIPE_KEY(self, kind, type, name, fallback, min, max, help) RECIPE_KEY_##name,
    RECIPE_ROWS(RECIPE_KEY, recipe)
#undef RECIPE_KEY
        RECIPE_KEY_COUNT
};

enum recipe_source {
    RECIPE_ABSENT,  /* not given, no default */
    RECIPE_DEFAULT, /* of recipe.def */
    RECIPE_FILE,    /* the recipe's text */
    RECIPE_FLAG,    /* --set on the command line */
    RECIPE_DERIVED, /* follows from other keys */
};

/* Keys that may be lists. */
enum recipe_list {
#define RECIPE_LIST(name) RECIPE_LIST_##name,
    RECIPE_LIST_ROWS(RECIPE_LIST)
#undef RECIPE_LIST
        RECIPE_LIST_COUNT
};

/* The values of such a key, as their members hold them; count 0: it is one value, the member's. */
struct recipe_values {
    uint32_t count;
    union recipe_number {
        double f64;
        uint64_t u64;
    } values[LIMIT_VARIANTS];
};

/* Where a value comes from. */
struct recipe_origin {
    enum recipe_source source;
    uint32_t line, column; /* FILE: from 1 */
    const char *alias;     /* the name it was given under when that is not the key; static */
};

/* Everything it points to lives in its own arena; release with recipe_fini. */
struct recipe {
    RECIPE_ROWS(RECIPE_MEMBER, recipe)
    struct recipe_values lists[RECIPE_LIST_COUNT]; /* the member of a list is its first value */
    struct recipe_origin origins[RECIPE_KEY_COUNT];
    const char *file_name; /* for messages */
    const char *directory; /* of the recipe's file, "" for the current one */
    const char **notices;  /* one line each, for people: aliases, keys without effect, defaults */
    size_t notice_count;
    struct arena arena; /* owned */
};

struct recipe_options {
    const char *file_name; /* "tiny.yml": for messages and as the base of relative paths; may hold
                              folders; NULL: "recipe" */
    const char *const
        *sets; /* "learning_rate=1e-4", dashes allowed in keys: stand above the file */
    size_t set_count;
};

/* Reads what a person wrote, settles every default and checks that it makes sense. On success
 * *recipe is to be released with recipe_fini; on an error it needs no release.
 * ERR_RECIPE: `et` names file:line:column, the key, what was expected, what was found, and the
 * nearest key for an unknown one. ERR_UNSUPPORTED: a known key that is not supported.
 * ERR_LIMIT: larger than LIMIT_RECIPE_BYTES or nested too deep. */
MUST_CHECK enum err recipe_read(struct span text, const struct recipe_options *options,
                                struct recipe *recipe, struct err_text *et);

/* Reads the canonical text. Notices stay empty. Errors and ownership as recipe_read. */
MUST_CHECK enum err recipe_parse(struct span text, struct recipe *recipe, struct err_text *et);

/* NULL members are fine; a zeroed recipe too. */
void recipe_fini(struct recipe *recipe);

/* Appends the canonical text: a YAML block that recipe_parse reads back to an equal recipe. Failure
 * is kept in `out` (bytes_status). */
void recipe_write(const struct recipe *recipe, struct bytes *out);

/* The same with a comment after each value that says where it comes from; for people. */
void recipe_write_origins(const struct recipe *recipe, struct bytes *out);

/* Values only; where they came from does not count. */
bool recipe_equal(const struct recipe *a, const struct recipe *b);

/* Given by the user, by a default or by other keys. */
static inline bool recipe_is_set(const struct recipe *recipe, enum recipe_key key)
{
    return recipe->origins[key].source != RECIPE_ABSENT;
}

static inline bool recipe_quantizes(const struct recipe *recipe)
{
    return recipe_is_set(recipe, RECIPE_KEY_quantize);
}

static inline bool recipe_merges(const struct recipe *recipe)
{
    return recipe->merge != RECIPE_MERGE_NONE;
}

/* False when the recipe only evaluates, or quantizes or merges what there is. */
static inline bool recipe_trains(const struct recipe *recipe)
{
    return recipe->evaluate != RECIPE_EVALUATE_ONLY &&
           (recipe->datasets_count > 0 || !(recipe_quantizes(recipe) || recipe_merges(recipe)));
}

/* Rows of one optimizer step: the unit of a round. Micro batches only say how they are cut. */
static inline uint64_t recipe_round_rows(const struct recipe *recipe)
{
    return recipe->micro_batch_size * recipe->gradient_accumulation_steps;
}

/* Optimizer steps over `train_rows` rows: max_steps when given, else as many as num_epochs passes
 * over them take, rounded up (rows of epochs follow each other without a gap). At least 1. */
uint64_t recipe_step_count(const struct recipe *recipe, uint64_t train_rows);

/* warmup_steps, or warmup_ratio of `step_count` rounded up; 0 without either. */
uint64_t recipe_warmup_steps(const struct recipe *recipe, uint64_t step_count);

/* "f32/1" or "blas": the profile with its version. Static. */
const char *recipe_profile_name(const struct recipe *recipe);

/* The protocol of test text, never AUTO; whether that needs the text as one stream of tokens. */
enum recipe_perplexity recipe_perplexity_settled(const struct recipe *recipe);
bool recipe_streams(const struct recipe *recipe);

/* The word of an enumerator as recipes spell it; "?" outside the enum. Static strings. */
#define RECIPE_WORD(LIST, list) const char *recipe_##list##_word(enum recipe_##list value);
RECIPE_ENUM_ROWS(RECIPE_WORD)
#undef RECIPE_WORD

/* `path` resolved against the folder of the recipe's file; `path` itself when it is absolute. In
 * `arena`, NULL when memory is out. */
const char *recipe_path(const struct recipe *recipe, const char *path, struct arena *arena);

/* Name, default as YAML ("" for none) and help of a key. Static. */
const char *recipe_key_name(enum recipe_key key);
const char *recipe_key_default(enum recipe_key key);
const char *recipe_key_help(enum recipe_key key);

/* Key `index` within a key that holds keys (quantize, datasets); false beyond the last. Static. */
struct recipe_inner_key {
    const char *name, *preset, *help;
};
bool recipe_key_inner(enum recipe_key key, size_t index, struct recipe_inner_key *out);

#endif
