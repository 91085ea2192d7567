/* inspect_adapter.h - facts about adapters: PEFT folders, our own of bottlenecks, GGUF files. */
#ifndef CLI_COMMAND_INSPECT_ADAPTER_H
#define CLI_COMMAND_INSPECT_ADAPTER_H

#include "cli/command/inspect_facts.h"
#include "common/formats/gguf/gguf.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_insert.h"

enum { INSPECT_ADAPTER_GROUPS_MAX = 64, INSPECT_ADAPTER_NAME_BYTES = 64 };

/* Modules of one name and shape, over the layers. */
struct inspect_adapter_group {
    char name[INSPECT_ADAPTER_NAME_BYTES]; /* "q_proj" */
    uint64_t rank, in, out;
    double scale;
    size_t count;
};

struct inspect_adapter {
    struct inspect_adapter_group groups[INSPECT_ADAPTER_GROUPS_MAX];
    size_t count;
    size_t module_count;
};

/* Facts and groups of an open adapter. */
void inspect_adapter_of_peft(const struct peft_adapter *adapter, struct inspect_facts *facts,
                             struct inspect_adapter *out);

/* Facts of a prompt or of bottlenecks, which have no modules. */
void inspect_adapter_of_insert(const struct peft_insert_config *config,
                               struct inspect_facts *facts);

/* Facts and groups of a GGUF file whose general.type is "adapter". ERR_FORMAT, ERR_SHAPE,
 * ERR_UNSUPPORTED with file and tensor. */
MUST_CHECK enum err inspect_adapter_of_gguf(const struct gguf *gguf, struct inspect_facts *facts,
                                            struct inspect_adapter *out, struct err_text *et);

MUST_CHECK enum err inspect_adapter_print(const struct inspect_adapter *adapter,
                                          struct invocation *invocation);

/* Member "modules". */
void inspect_adapter_write(const struct inspect_adapter *adapter, struct json_write *w);

#endif
