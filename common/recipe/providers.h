/* providers.h - the file of providers: where a coordinator gets workers from, and how many.
 *
 *   providers:
 *     - name: here
 *       kind: local
 *     - name: cluster
 *       kind: slurm
 *       max: 40
 *       time_limit: 1h
 *
 * Keys and their meaning are the rows of schemas/provider.def. Refuses to know: how workers are
 * started. Everything that reaches a command line is checked here for control characters.
 */
#ifndef COMMON_RECIPE_PROVIDERS_H
#define COMMON_RECIPE_PROVIDERS_H

#include "common/recipe/recipe.h"
#include "schemas/provider.def"

enum provider_kind {
#define PROVIDERS_KIND(name, word) PROVIDER_##name,
    PROVIDER_KIND_WORDS(PROVIDERS_KIND)
#undef PROVIDERS_KIND
        PROVIDER_KIND_COUNT
};

#define PROVIDERS_MEMBER_ENUM(type, name)     enum type name;
#define PROVIDERS_MEMBER_TEXT(type, name)     RECIPE_MEMBER_TEXT(type, name)
#define PROVIDERS_MEMBER_PATH(type, name)     RECIPE_MEMBER_PATH(type, name)
#define PROVIDERS_MEMBER_U64(type, name)      RECIPE_MEMBER_U64(type, name)
#define PROVIDERS_MEMBER_SIZE(type, name)     RECIPE_MEMBER_SIZE(type, name)
#define PROVIDERS_MEMBER_DURATION(type, name) RECIPE_MEMBER_DURATION(type, name)
#define PROVIDERS_MEMBER_WORDS(type, name)    RECIPE_MEMBER_WORDS(type, name)
#define PROVIDERS_MEMBER(self, kind, type, name, fallback, min, max, help)                         \
    PROVIDERS_MEMBER_##kind(type, name)

/* One provider. Texts are NULL when the key is absent; `name` and `max` are settled. */
struct provider_config {
    PROVIDER_ROWS(PROVIDERS_MEMBER, provider_config)
};

/* Everything it points to lives in its own arena; release with providers_fini. */
struct providers {
    struct provider_config *rows;
    size_t count;
    struct arena arena; /* owned */
};

/* Reads the text of the file; `file_name` is for messages. `processors`: of this machine, what
 * `max` of a local provider is when it is not given. ERR_RECIPE with file, line, key, what was
 * expected and what was found; ERR_LIMIT beyond LIMIT_PROVIDERS or LIMIT_RECIPE_BYTES. On an error
 * *out needs no release. */
MUST_CHECK enum err providers_read(struct span text, const char *file_name, uint64_t processors,
                                   struct providers *out, struct err_text *et);

/* What holds without a file: `local`, target 0, at most one worker of one thread a processor. */
MUST_CHECK enum err providers_preset(uint64_t processors, struct providers *out);

/* A zeroed one is fine. */
void providers_fini(struct providers *providers);

/* NULL when there is none. Borrowed. */
const struct provider_config *providers_find(const struct providers *providers, struct text name);

/* The word of a kind as the file spells it; "?" outside the enum. Static. */
const char *providers_kind_word(enum provider_kind kind);

/* Its target says a number, which goes to *target; false: auto. */
bool providers_is_fixed(const struct provider_config *config, uint64_t *target);

/* Key `index` as docs and help show it; false beyond the last. Static. */
bool providers_key(size_t index, struct recipe_inner_key *out);

#endif
