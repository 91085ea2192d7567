/* family.h - the rows of model_family.def as values: what kind of transformer a config describes.
 *
 * Refuses to know: any model's sizes or weights.
 */
#ifndef WORKER_ENGINE_NN_FAMILY_H
#define WORKER_ENGINE_NN_FAMILY_H

#include "common/base/span.h"
#include "schemas/model_family.def"

struct hf_config;

enum family_id {
#define FAMILY_ENUM(id, type, norm, position, attention, mlp, residual, bias, embedding, linear,   \
                    targets)                                                                       \
    FAMILY_##id,
    MODEL_FAMILY_ROWS(FAMILY_ENUM) MODEL_VARIANT_ROWS(FAMILY_ENUM)
#undef FAMILY_ENUM
        FAMILY_COUNT
};

enum family_norm { NORM_RMS, NORM_RMS_PLUS_ONE, NORM_LAYER };
enum family_position { POSITION_ROPE, POSITION_LEARNED };
enum family_attention { ATTENTION_SPLIT, ATTENTION_FUSED, ATTENTION_FUSED_GROUPS };
enum family_mlp { MLP_GATED, MLP_GATED_FUSED, MLP_PLAIN };
enum family_residual { RESIDUAL_SEQUENTIAL, RESIDUAL_PARALLEL, RESIDUAL_SANDWICH };
enum family_bias { BIAS_NONE, BIAS_QKV, BIAS_LAYERS, BIAS_ALL };
enum family_embedding { EMBEDDING_PLAIN, EMBEDDING_SCALED };
enum family_linear { LINEAR_PLAIN, LINEAR_TURNED, LINEAR_TERNARY };

enum model_role {
#define FAMILY_ROLE(role, place, kind, rows, columns, gguf) MODEL_##role,
    MODEL_ROLE_ROWS(FAMILY_ROLE)
#undef FAMILY_ROLE
        MODEL_ROLE_COUNT
};

enum model_kind { MODEL_KIND_TABLE, MODEL_KIND_GAIN, MODEL_KIND_LINEAR, MODEL_KIND_BIAS };

struct family {
    enum family_id id;
    const char *model_type;
    enum family_norm norm;
    enum family_position position;
    enum family_attention attention;
    enum family_mlp mlp;
    enum family_residual residual;
    enum family_bias bias;
    enum family_embedding embedding;
    enum family_linear linear;
    const char *targets;                 /* default LoRA modules, separated by commas; or "" */
    const char *names[MODEL_ROLE_COUNT]; /* of tensors; "%u" is the layer; NULL: no such role */
};

/* The row that a config describes, or NULL when no row has its model_type. Static storage. */
const struct family *family_of(const struct hf_config *config);

/* The model types there are rows for, separated by ", ". Static string, for messages. */
const char *family_list(void);

/* Whether a role occurs once a layer, and what its tensor is. */
bool family_role_in_layer(enum model_role role);
enum model_kind family_role_kind(enum model_role role);

/* Name of a role's tensor in GGUF files of the family, without ".weight" or ".bias"; "%u" is the
 * layer. Static string. */
const char *family_gguf_name(const struct family *family, enum model_role role);

#endif
