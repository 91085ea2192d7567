/* family.h - the rows of model_family.def as values: what kind of transformer a model_type names.
 *
 * Refuses to know: any model's sizes or weights.
 */
#ifndef WORKER_ENGINE_NN_FAMILY_H
#define WORKER_ENGINE_NN_FAMILY_H

#include "common/base/span.h"
#include "schemas/model_family.def"

enum family_id {
#define FAMILY_ENUM(id, type, norm, position, attention, mlp, residual, bias, embedding)           \
    FAMILY_##id,
    MODEL_FAMILY_ROWS(FAMILY_ENUM)
#undef FAMILY_ENUM
        FAMILY_COUNT
};

enum family_norm { NORM_RMS, NORM_RMS_PLUS_ONE, NORM_LAYER };
enum family_position { POSITION_ROPE_HALVES, POSITION_ROPE_PARTIAL, POSITION_LEARNED };
enum family_attention { ATTENTION_SPLIT, ATTENTION_FUSED };
enum family_mlp { MLP_GATED, MLP_GATED_FUSED, MLP_PLAIN };
enum family_residual { RESIDUAL_SEQUENTIAL, RESIDUAL_PARALLEL };
enum family_bias { BIAS_NONE, BIAS_QKV, BIAS_ALL };
enum family_embedding { EMBEDDING_PLAIN, EMBEDDING_SCALED };

enum model_role {
#define FAMILY_ROLE(role, place, kind, rows, columns) MODEL_##role,
    MODEL_ROLE_ROWS(FAMILY_ROLE)
#undef FAMILY_ROLE
        MODEL_ROLE_COUNT
};

enum model_kind { MODEL_KIND_TABLE, MODEL_KIND_GAIN, MODEL_KIND_LINEAR };

struct family {
    const char *model_type;
    enum family_norm norm;
    enum family_position position;
    enum family_attention attention;
    enum family_mlp mlp;
    enum family_residual residual;
    enum family_bias bias;
    enum family_embedding embedding;
    const char *names[MODEL_ROLE_COUNT]; /* of tensors; "%u" is the layer */
};

/* The row of a model_type, or NULL when no row has it. Static storage. */
const struct family *family_find(struct text model_type);

/* The model types there are rows for, separated by ", ". Static string, for messages. */
const char *family_list(void);

/* Whether a role occurs once a layer, and what its tensor is. */
bool family_role_in_layer(enum model_role role);
enum model_kind family_role_kind(enum model_role role);

#endif
