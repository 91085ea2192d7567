/* convert_mix.c - the mixes as rows, and the walk over them. */
#include "common/formats/convert/convert_mix.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/check.h"

/* Name, general.file_type, format of most tensors. */
#define MIX_ROWS(M)                                                                                \
    M(Q4_0, 2, Q4_0)                                                                               \
    M(Q4_1, 3, Q4_1)                                                                               \
    M(Q5_0, 8, Q5_0)                                                                               \
    M(Q5_1, 9, Q5_1)                                                                               \
    M(Q8_0, 7, Q8_0)                                                                               \
    M(Q2_K, 10, Q2_K)                                                                              \
    M(Q2_K_S, 21, Q2_K)                                                                            \
    M(Q3_K_S, 11, Q3_K)                                                                            \
    M(Q3_K_M, 12, Q3_K)                                                                            \
    M(Q3_K_L, 13, Q3_K)                                                                            \
    M(Q4_K_S, 14, Q4_K)                                                                            \
    M(Q4_K_M, 15, Q4_K)                                                                            \
    M(Q5_K_S, 16, Q5_K)                                                                            \
    M(Q5_K_M, 17, Q5_K)                                                                            \
    M(Q6_K, 18, Q6_K)                                                                              \
    M(IQ4_NL, 25, IQ4_NL)                                                                          \
    M(TQ1_0, 36, TQ1_0)                                                                            \
    M(TQ2_0, 37, TQ2_0)

enum mix_id {
#define MIX_ENUM(name, file_type, format) MIX_##name,
    MIX_ROWS(MIX_ENUM)
#undef MIX_ENUM
        MIX_COUNT
};

struct convert_mix {
    const char *name;
    uint32_t file_type;
    enum block_format format;
};

static const struct convert_mix mixes[MIX_COUNT] = {
#define MIX_ROW(name, file_type, format) {#name, file_type, BLOCK_FORMAT_##format},
    MIX_ROWS(MIX_ROW)
#undef MIX_ROW
};

/* Other names that people give: those of llama-quantize. */
static const struct {
    const char *name;
    enum mix_id mix;
} aliases[] = {{"Q3_K", MIX_Q3_K_M}, {"Q4_K", MIX_Q4_K_M}, {"Q5_K", MIX_Q5_K_M}};

/* When a rule holds, layer i of n. */
enum when {
    ALWAYS,
    FIRST_2,             /* i < 2 */
    FIRST_4,             /* i < 4 */
    FIRST_8TH,           /* i < n / 8 */
    FIRST_8TH_PLAIN,     /* and there is no importance matrix */
    FIRST_8TH_IMPORTANT, /* and there is one */
    FIRST_16TH,          /* i < n / 16 */
    MORE_BITS,           /* the first and last eighth, and every third between */
    SHARED_BY_4,         /* four query heads or more share a head of keys */
};

enum whose { ALL, FALCON, OTHERS };

/* The first row that holds decides; where none does, the mix's format stays. */
static const struct rule {
    enum mix_id mix;
    enum convert_role role;
    enum whose whose;
    enum when when;
    enum block_format format;
} rules[] = {
    {MIX_TQ1_0, CONVERT_EMBEDDING, ALL, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_TQ2_0, CONVERT_EMBEDDING, ALL, ALWAYS, BLOCK_FORMAT_Q4_K},

    {MIX_Q2_K, CONVERT_VALUE, ALL, SHARED_BY_4, BLOCK_FORMAT_Q4_K},
    {MIX_Q2_K, CONVERT_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q3_K},
    {MIX_Q2_K_S, CONVERT_VALUE, ALL, SHARED_BY_4, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_M, CONVERT_VALUE, ALL, FIRST_2, BLOCK_FORMAT_Q5_K},
    {MIX_Q3_K_M, CONVERT_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_L, CONVERT_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q5_K},
    {MIX_IQ4_NL, CONVERT_VALUE, ALL, SHARED_BY_4, BLOCK_FORMAT_Q5_K},
    {MIX_Q4_K_S, CONVERT_VALUE, ALL, FIRST_4, BLOCK_FORMAT_Q5_K},
    {MIX_Q4_K_M, CONVERT_VALUE, ALL, MORE_BITS, BLOCK_FORMAT_Q6_K},
    {MIX_Q5_K_M, CONVERT_VALUE, ALL, MORE_BITS, BLOCK_FORMAT_Q6_K},

    {MIX_Q3_K_M, CONVERT_QUERY_KEY_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_L, CONVERT_QUERY_KEY_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q4_K_M, CONVERT_QUERY_KEY_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q5_K},
    {MIX_Q5_K_M, CONVERT_QUERY_KEY_VALUE, ALL, ALWAYS, BLOCK_FORMAT_Q6_K},

    {MIX_Q2_K, CONVERT_OUTPUT, OTHERS, ALWAYS, BLOCK_FORMAT_Q3_K},
    {MIX_Q3_K_M, CONVERT_OUTPUT, OTHERS, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_L, CONVERT_OUTPUT, OTHERS, ALWAYS, BLOCK_FORMAT_Q5_K},
    {MIX_Q3_K_L, CONVERT_OUTPUT, FALCON, ALWAYS, BLOCK_FORMAT_Q4_K},

    {MIX_Q4_0, CONVERT_DOWN, ALL, FIRST_8TH_IMPORTANT, BLOCK_FORMAT_Q4_1},
    {MIX_Q5_0, CONVERT_DOWN, ALL, FIRST_8TH_IMPORTANT, BLOCK_FORMAT_Q5_1},
    {MIX_IQ4_NL, CONVERT_DOWN, ALL, FIRST_8TH_PLAIN, BLOCK_FORMAT_Q5_K},
    {MIX_Q2_K, CONVERT_DOWN, ALL, ALWAYS, BLOCK_FORMAT_Q3_K},
    {MIX_Q2_K_S, CONVERT_DOWN, ALL, FIRST_8TH, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_M, CONVERT_DOWN, ALL, FIRST_16TH, BLOCK_FORMAT_Q5_K},
    {MIX_Q3_K_M, CONVERT_DOWN, OTHERS, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_M, CONVERT_DOWN, FALCON, MORE_BITS, BLOCK_FORMAT_Q4_K},
    {MIX_Q3_K_L, CONVERT_DOWN, OTHERS, ALWAYS, BLOCK_FORMAT_Q5_K},
    {MIX_Q3_K_L, CONVERT_DOWN, FALCON, ALWAYS, BLOCK_FORMAT_Q4_K},
    {MIX_Q4_K_S, CONVERT_DOWN, OTHERS, FIRST_8TH, BLOCK_FORMAT_Q5_K},
    {MIX_Q4_K_M, CONVERT_DOWN, FALCON, FIRST_16TH, BLOCK_FORMAT_Q6_K},
    {MIX_Q4_K_M, CONVERT_DOWN, FALCON, MORE_BITS, BLOCK_FORMAT_Q5_K},
    {MIX_Q4_K_M, CONVERT_DOWN, OTHERS, MORE_BITS, BLOCK_FORMAT_Q6_K},
    {MIX_Q5_K_M, CONVERT_DOWN, ALL, MORE_BITS, BLOCK_FORMAT_Q6_K},
};

/* Where rows are no whole blocks. */
static const struct {
    enum block_format format;
    enum block_format instead;
} fallbacks[] = {
    {BLOCK_FORMAT_Q2_K, BLOCK_FORMAT_IQ4_NL}, {BLOCK_FORMAT_Q3_K, BLOCK_FORMAT_IQ4_NL},
    {BLOCK_FORMAT_Q4_K, BLOCK_FORMAT_Q5_0},   {BLOCK_FORMAT_Q5_K, BLOCK_FORMAT_Q5_1},
    {BLOCK_FORMAT_Q6_K, BLOCK_FORMAT_Q8_0},   {BLOCK_FORMAT_TQ1_0, BLOCK_FORMAT_Q4_0},
    {BLOCK_FORMAT_TQ2_0, BLOCK_FORMAT_Q4_0},
};

const struct convert_mix *convert_mix_named(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(mixes); i++) {
        if (strcasecmp(mixes[i].name, name) == 0)
            return &mixes[i];
    }
    for (size_t i = 0; i < COUNT_OF(aliases); i++) {
        if (strcasecmp(aliases[i].name, name) == 0)
            return &mixes[aliases[i].mix];
    }
    return NULL;
}

const struct convert_mix *convert_mix_of_format(enum block_format format)
{
    return convert_mix_named(block_format_name(format));
}

void convert_mix_choices(char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(mixes) && used < out_bytes; i++) {
        int size = snprintf(out + used, out_bytes - used, "%s%s", i > 0 ? ", " : "", mixes[i].name);
        used += size > 0 ? (size_t)size : 0;
    }
}

const char *convert_mix_name(const struct convert_mix *mix)
{
    return mix->name;
}

uint32_t convert_mix_file_type(const struct convert_mix *mix)
{
    return mix->file_type;
}

enum block_format convert_mix_format(const struct convert_mix *mix)
{
    return mix->format;
}

bool convert_mix_needs_importance(const struct convert_mix *mix)
{
    return mix == &mixes[MIX_Q2_K_S];
}

bool convert_mix_takes(struct convert_place place, uint32_t rank,
                       const struct convert_mix_switches *switches)
{
    if (rank != 2 || place.is_bias || place.role == CONVERT_ROLE_COUNT ||
        place.role == CONVERT_POSITION || convert_name_kind(place.role) == CONVERT_GAIN)
        return false;
    return place.role != CONVERT_HEAD || !switches->leave_head;
}

enum block_format convert_mix_fallback(enum block_format format, uint64_t columns)
{
    for (size_t i = 0; i < COUNT_OF(fallbacks); i++) {
        if (fallbacks[i].format == format && columns % block_format_elements(format) != 0)
            format = fallbacks[i].instead;
    }
    return columns % block_format_elements(format) == 0 ? format : BLOCK_FORMAT_F16;
}

static bool holds(enum when when, const struct convert_mix_model *m, uint32_t i)
{
    const uint32_t n = m->layers;
    switch (when) {
    case ALWAYS:
        return true;
    case FIRST_2:
        return i < 2;
    case FIRST_4:
        return i < 4;
    case FIRST_8TH:
        return i < n / 8;
    case FIRST_8TH_PLAIN:
        return i < n / 8 && !m->has_importance;
    case FIRST_8TH_IMPORTANT:
        return i < n / 8 && m->has_importance;
    case FIRST_16TH:
        return i < n / 16;
    case MORE_BITS:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case SHARED_BY_4:
        return m->kv_heads > 0 && m->heads / m->kv_heads >= 4;
    }
    return false;
}

static bool is_falcon(const struct convert_mix_model *m)
{
    return strcmp(m->architecture, "falcon") == 0;
}

/* Models of 80 layers whose keys and values are few: "70B". */
static bool is_large_with_few_values(const struct convert_mix_model *m)
{
    return m->layers == 80 && m->heads != m->kv_heads &&
           (strcmp(m->architecture, "llama") == 0 || strcmp(m->architecture, "qwen2") == 0);
}

static enum block_format by_rules(const struct convert_mix *mix, const struct convert_mix_model *m,
                                  struct convert_place place)
{
    enum block_format format = mix->format;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        const struct rule *r = &rules[i];
        if (&mixes[r->mix] == mix && r->role == place.role &&
            (r->whose == ALL || (r->whose == FALCON) == is_falcon(m)) &&
            holds(r->when, m, place.layer)) {
            format = r->format;
            break;
        }
    }
    if (place.role == CONVERT_VALUE && is_large_with_few_values(m) &&
        (format == BLOCK_FORMAT_Q3_K || format == BLOCK_FORMAT_Q4_K))
        format = BLOCK_FORMAT_Q5_K;
    return format;
}

/* Of the matrix that logits come from. */
static enum block_format of_head(const struct convert_mix *mix, const struct convert_mix_model *m,
                                 uint64_t columns)
{
    if (is_falcon(m) || columns % block_format_elements(mix->format) != 0 ||
        mix->format == BLOCK_FORMAT_Q8_0)
        return BLOCK_FORMAT_Q8_0;
    return BLOCK_FORMAT_Q6_K;
}

enum block_format convert_mix_choose(const struct convert_mix *mix,
                                     const struct convert_mix_model *model,
                                     const struct convert_mix_switches *switches,
                                     struct convert_place place, uint64_t columns)
{
    bool is_head = place.role == CONVERT_HEAD;
    bool is_embedding = place.role == CONVERT_EMBEDDING;
    bool makes_logits = is_head || (is_embedding && !model->has_head);
    enum block_format format = mix->format;
    if (!switches->pure && makes_logits)
        format = switches->head != CONVERT_MIX_ANY ? switches->head : of_head(mix, model, columns);
    else if (!switches->pure)
        format = by_rules(mix, model, place);
    if (is_head && switches->head != CONVERT_MIX_ANY)
        format = switches->head;
    if (is_embedding && switches->embedding != CONVERT_MIX_ANY)
        format = switches->embedding;
    return convert_mix_fallback(format, columns);
}

bool convert_mix_is_given(const struct convert_mix_model *model,
                          const struct convert_mix_switches *switches, struct convert_place place)
{
    bool is_head = place.role == CONVERT_HEAD;
    bool is_embedding = place.role == CONVERT_EMBEDDING;
    bool makes_logits = is_head || (is_embedding && !model->has_head && !switches->pure);
    return (makes_logits && switches->head != CONVERT_MIX_ANY) ||
           (is_embedding && switches->embedding != CONVERT_MIX_ANY);
}

size_t convert_mix_candidates(uint64_t columns, enum block_format out[CONVERT_MIX_CANDIDATES_MAX])
{
    static const enum block_format formats[] = {
        BLOCK_FORMAT_Q2_K, BLOCK_FORMAT_Q3_K, BLOCK_FORMAT_Q4_K,
        BLOCK_FORMAT_Q5_K, BLOCK_FORMAT_Q6_K, BLOCK_FORMAT_Q8_0,
    };
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(formats); i++) {
        enum block_format format = convert_mix_fallback(formats[i], columns);
        if (count == 0 || out[count - 1] != format)
            out[count++] = format;
    }
    return count;
}
