/* family.c - model_family.def expanded into tables. */
#include "worker/engine/nn/family.h"

#include "common/base/check.h"
#include "common/formats/hf/hf_config.h"

enum { FAMILY_PLACE_MODEL, FAMILY_PLACE_LAYER };

struct role_row {
    bool in_layer;
    enum model_kind kind;
    const char *gguf;
};

static const struct role_row roles[MODEL_ROLE_COUNT] = {
#define FAMILY_ROLE(role, place, kind, rows, columns, gguf)                                        \
    [MODEL_##role] = {FAMILY_PLACE_##place == FAMILY_PLACE_LAYER, MODEL_KIND_##kind, gguf},
    MODEL_ROLE_ROWS(FAMILY_ROLE)
#undef FAMILY_ROLE
};

#define FAMILY_NAME(role, name) [MODEL_##role] = name,
static const struct family families[FAMILY_COUNT] = {
#define FAMILY_ROW(row, type, n, p, a, m, r, b, e, l, t)                                           \
    [FAMILY_##row] = {.id = FAMILY_##row,                                                          \
                      .model_type = type,                                                          \
                      .norm = NORM_##n,                                                            \
                      .position = POSITION_##p,                                                    \
                      .attention = ATTENTION_##a,                                                  \
                      .mlp = MLP_##m,                                                              \
                      .residual = RESIDUAL_##r,                                                    \
                      .bias = BIAS_##b,                                                            \
                      .embedding = EMBEDDING_##e,                                                  \
                      .linear = LINEAR_##l,                                                        \
                      .targets = t,                                                                \
                      .names = {MODEL_NAMES_##row(FAMILY_NAME)}},
    MODEL_FAMILY_ROWS(FAMILY_ROW) MODEL_VARIANT_ROWS(FAMILY_ROW)
#undef FAMILY_ROW
};
#undef FAMILY_NAME

const struct family *family_of(const struct hf_config *config)
{
    if (text_is(text_of(config->model_type), "falcon") && config->num_ln_in_parallel_attn == 2)
        return &families[FAMILY_FALCON_TWO_NORMS];
    for (unsigned i = 0; i < FAMILY_COUNT; i++) {
        if (text_is(text_of(config->model_type), families[i].model_type))
            return &families[i];
    }
    return NULL;
}

const char *family_list(void)
{
#define FAMILY_TYPE(id, type, n, p, a, m, r, b, e, l, t) ", " type
    static const char list[] = "" MODEL_FAMILY_ROWS(FAMILY_TYPE);
#undef FAMILY_TYPE
    return list + 2;
}

bool family_role_in_layer(enum model_role role)
{
    ASSERT((unsigned)role < MODEL_ROLE_COUNT);
    return roles[role].in_layer;
}

enum model_kind family_role_kind(enum model_role role)
{
    ASSERT((unsigned)role < MODEL_ROLE_COUNT);
    return roles[role].kind;
}

const char *family_gguf_name(const struct family *family, enum model_role role)
{
    ASSERT((unsigned)role < MODEL_ROLE_COUNT && family->names[role] != NULL);
#define FAMILY_GGUF_NAME(row, named, name)                                                         \
    if (family->id == FAMILY_##row && role == MODEL_##named)                                       \
        return name;
    MODEL_GGUF_NAME_ROWS(FAMILY_GGUF_NAME)
#undef FAMILY_GGUF_NAME
    return roles[role].gguf;
}
