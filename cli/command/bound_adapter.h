/* bound_adapter.h - an adapter folder of PEFT's as what the engine's calls take.
 *
 * Refuses to know: how the folder came about; it is any that common/formats/peft reads.
 */
#ifndef CLI_COMMAND_BOUND_ADAPTER_H
#define CLI_COMMAND_BOUND_ADAPTER_H

#include "common/formats/peft/peft_adapter.h"
#include "worker/engine/nn/binding.h"

/* Fills a binding of binding_init with the adapter's modules. Caller owns *values, the vector it
 * speaks of, release with mem_free. ERR_SHAPE: the model has no such module of that shape, or ties
 * what the adapter has apart; ERR_UNSUPPORTED: a module in a form that the model's file does not
 * share; with the module in `et`. */
MUST_CHECK enum err bound_adapter_read(const struct model *model,
                                       const struct peft_adapter *adapter, struct binding *binding,
                                       float **values, struct err_text *et);

#endif
