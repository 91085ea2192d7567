/* publication.h - what is known of a result that is handed on: its card, its Modelfile and the
 * commands that serve it are made of this alone.
 */
#ifndef CLI_PUBLISH_PUBLICATION_H
#define CLI_PUBLISH_PUBLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/span.h"
#include "common/formats/tokenizer/chat_template.h"

enum publication_kind {
    PUBLICATION_LORA,       /* a folder that PEFT reads */
    PUBLICATION_PROMPT,     /* likewise */
    PUBLICATION_BOTTLENECK, /* ours alone */
    PUBLICATION_MODEL,      /* a folder of Hugging Face, quantized or not */
    PUBLICATION_GGUF,
};

/* A row of a table of the card. */
struct publication_fact {
    struct text name;
    struct text value;
};

/* A file of data that the job was frozen with. */
struct publication_data {
    struct text name; /* without folders */
    struct text use;  /* "training", "held out", "calibration" */
    struct text digest;
    uint64_t size_bytes;
};

/* Everything is borrowed; texts may be empty. */
struct publication {
    enum publication_kind kind;
    struct text name;       /* of the job */
    struct text handle;     /* the same without signs that a shell or Ollama would mind */
    struct text base_model; /* owner/name where known; empty: it began at random */
    struct text base_path;  /* as the recipe names it */
    struct text revision;
    struct text license; /* an identifier of the hub */
    struct text gguf;    /* file name; of GGUF */
    uint32_t rank;       /* LoRA: the largest of a module */
    bool is_merge_only;  /* LoRA: scaled columns or whole modules, which servers do not take */
    bool is_quantized;
    bool is_trained;        /* or only quantized, or merged */
    double loss, eval_loss; /* NaN: none */
    const struct publication_data *data;
    size_t data_count;
    const struct publication_fact *facts;
    size_t fact_count;
    struct text recipe;               /* YAML, every default settled */
    const struct chat_template *chat; /* NULL: none, or none that is known */
    struct text bos, eos;             /* as the tokenizer spells them */
    bool adds_bos;                    /* whoever tokenizes a text puts BOS before it */
    uint64_t context;                 /* tokens that a server should make room for */
};

#endif
