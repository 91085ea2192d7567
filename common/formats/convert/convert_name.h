/* convert_name.h - names of tensors: safetensors and GGUF, through the roles of model_family.def.
 */
#ifndef COMMON_FORMATS_CONVERT_CONVERT_NAME_H
#define COMMON_FORMATS_CONVERT_CONVERT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/formats/gguf/gguf_arch.h"
#include "schemas/model_family.def"

enum { CONVERT_NAME_BYTES = 256 };

enum convert_role {
#define CONVERT_ROLE(role, place, kind, rows, columns, gguf) CONVERT_##role,
    MODEL_ROLE_ROWS(CONVERT_ROLE)
#undef CONVERT_ROLE
        CONVERT_ROLE_COUNT
};

enum convert_kind { CONVERT_TABLE, CONVERT_GAIN, CONVERT_LINEAR };

/* Which tensor of a model. */
struct convert_place {
    enum convert_role role;
    uint32_t layer; /* 0 outside the layers */
    bool is_bias;
};

/* The names of a family of model_family.def; static. */
struct convert_family;

enum convert_kind convert_name_kind(enum convert_role role);
bool convert_name_is_of_layer(enum convert_role role);

/* The families that the architecture stands for, one after the other; NULL beyond the last. */
const struct convert_family *convert_name_family(const struct gguf_arch *arch, size_t index);

/* Every family there is, one after the other; NULL beyond the last: for names of a model that is
 * not at hand. */
const struct convert_family *convert_name_any(size_t index);

/* The place of a name in safetensors ("model.norm.weight"; a leading "transformer." or "model."
 * may be missing, as in files of a bare model, and a "language_model." may stand before, as in
 * those of a model that also sees), or in GGUF. False when the family has none. */
bool convert_name_of_hf(const struct convert_family *family, struct text name,
                        struct convert_place *out);
bool convert_name_of_gguf(const struct convert_family *family, struct text name,
                          struct convert_place *out);

/* Whether the family stores the role's rows inside another matrix (q in attn_qkv, gate in ffn_up):
 * a module that an adapter may sit on, but no tensor. */
bool convert_name_is_part(const struct convert_family *family, enum convert_role role);

/* Whether models of the family hold a weight of the role as a tensor of its own. */
bool convert_name_is_stored(const struct convert_family *family, enum convert_role role);

/* The names of a place that the family has. */
void convert_name_print_hf(const struct convert_family *family, struct convert_place place,
                           char out[CONVERT_NAME_BYTES]);
void convert_name_print_gguf(const struct convert_family *family, struct convert_place place,
                             char out[CONVERT_NAME_BYTES]);

/* Order in files: what belongs to no layer by name, then the layers, each by name. */
int convert_name_compare(const char *a, const char *b);

#endif
