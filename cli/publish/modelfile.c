/* modelfile.c - see modelfile.h. */
#include "cli/publish/modelfile.h"

#include <string.h>

#include "cli/publish/go_template.h"
#include "common/base/check.h"

bool modelfile_fits(const struct publication *p)
{
    if (p->kind == PUBLICATION_LORA)
        return !p->is_merge_only;
    return p->kind == PUBLICATION_GGUF || (p->kind == PUBLICATION_MODEL && !p->is_quantized);
}

static struct text base_of(const struct publication *p)
{
    return p->base_model.size > 0 ? p->base_model : p->base_path;
}

/* A word of a line for a shell: in quotes where it is more than plain signs. */
static void put_word(struct bytes *out, struct text word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:=,@%+";
    bool is_plain = word.size > 0;
    for (size_t i = 0; i < word.size; i++)
        is_plain = is_plain && word.data[i] != '\0' && strchr(plain, word.data[i]) != NULL;
    if (is_plain) {
        bytes_append_text(out, word);
        return;
    }
    bytes_append_text(out, TEXT("'"));
    for (size_t i = 0; i < word.size; i++)
        if (word.data[i] == '\'')
            bytes_append_text(out, TEXT("'\\''"));
        else
            bytes_append(out, &word.data[i], 1);
    bytes_append_text(out, TEXT("'"));
}

/* What ends its line: a comment, the rest of an instruction. */
static void put_rest(struct bytes *out, const char *before, struct text rest)
{
    bytes_append_text(out, text_of(before));
    for (size_t i = 0; i < rest.size; i++)
        bytes_append(out, (unsigned char)rest.data[i] < ' ' ? " " : &rest.data[i], 1);
    bytes_append_text(out, TEXT("\n"));
}

static void put_from(const struct publication *p, struct bytes *out)
{
    if (p->kind == PUBLICATION_LORA) {
        put_rest(out,
                 "# The model that the adapter was trained on, as Ollama knows it, or the path\n"
                 "# of its folder or GGUF file; with another one answers are noise.\n"
                 "FROM ",
                 base_of(p));
        bytes_append_text(out, TEXT("ADAPTER .\n"));
    } else if (p->kind == PUBLICATION_GGUF)
        put_rest(out, "FROM ./", p->gguf);
    else
        bytes_append_text(out, TEXT("FROM .\n"));
}

enum err modelfile_print(const struct publication *p, struct bytes *out)
{
    char stops[GO_TEMPLATE_STOPS_MAX][GO_TEMPLATE_STOP_BYTES];
    put_from(p, out);
    if (p->chat != NULL) {
        bytes_append_text(out, TEXT("TEMPLATE \"\"\""));
        TRY(go_template_print(p, out));
        bytes_append_text(out, TEXT("\"\"\"\n"));
        size_t count = go_template_stops(p, stops);
        for (size_t i = 0; i < count; i++)
            bytes_print(out, "PARAMETER stop \"%s\"\n", stops[i]);
    } else {
        bytes_append_text(out, TEXT("TEMPLATE \"\"\"{{ .Prompt }}\"\"\"\n"));
    }
    if (p->context > 0)
        bytes_print(out, "PARAMETER num_ctx %llu\n", (unsigned long long)p->context);
    return bytes_status(out);
}

static void put_heading(struct bytes *out, const char *name)
{
    bytes_print(out, "\n%s:\n\n```sh\n", name);
}

static void put_end(struct bytes *out)
{
    bytes_append_text(out, TEXT("```\n"));
}

/* The bounds that vLLM's kernels are made for. */
static uint32_t vllm_rank(uint32_t rank)
{
    uint32_t bound = 8;
    while (bound < rank)
        bound *= 2;
    return bound;
}

static void put_vllm(const struct publication *p, struct bytes *out)
{
    put_heading(out, "vLLM");
    struct text handle = p->handle;
    if (p->kind == PUBLICATION_LORA) {
        bytes_append_text(out, TEXT("vllm serve "));
        put_word(out, base_of(p));
        bytes_print(out, " --enable-lora --max-lora-rank %u --lora-modules %.*s=.\n",
                    vllm_rank(p->rank), TEXT_ARGS(handle));
    } else if (p->kind == PUBLICATION_GGUF) {
        bytes_append_text(out, TEXT("vllm serve ./"));
        put_word(out, p->gguf);
        bytes_append_text(out, TEXT(" --tokenizer "));
        put_word(out, base_of(p));
        bytes_print(out, " --served-model-name %.*s\n", TEXT_ARGS(handle));
    } else
        bytes_print(out, "vllm serve . --served-model-name %.*s\n", TEXT_ARGS(handle));
    put_end(out);
}

static void put_llama_server(const struct publication *p, struct bytes *out)
{
    struct text handle = p->handle;
    if (p->kind == PUBLICATION_MODEL && p->is_quantized)
        return; /* weights that are in few bits already are not quantized a second time */
    put_heading(out, "llama-server");
    if (p->kind == PUBLICATION_LORA) {
        put_rest(out, "qctl convert BASE base.gguf            # BASE: the folder of ", base_of(p));
        bytes_print(out,
                    "qctl convert . %.*s-lora.gguf --base BASE\n"
                    "llama-server -m base.gguf --lora %.*s-lora.gguf\n",
                    TEXT_ARGS(handle), TEXT_ARGS(handle));
    } else if (p->kind == PUBLICATION_GGUF) {
        bytes_append_text(out, TEXT("llama-server -m ./"));
        put_word(out, p->gguf);
        bytes_append_text(out, TEXT("\n"));
    } else
        bytes_print(out, "qctl convert . %.*s.gguf --type Q8_0\nllama-server -m %.*s.gguf\n",
                    TEXT_ARGS(handle), TEXT_ARGS(handle));
    put_end(out);
}

static void put_python(const struct publication *p, struct bytes *out)
{
    if (p->kind == PUBLICATION_GGUF)
        return;
    const char *library = p->kind == PUBLICATION_MODEL ? "transformers" : "peft";
    const char *class =
        p->kind == PUBLICATION_MODEL ? "AutoModelForCausalLM" : "AutoPeftModelForCausalLM";
    bytes_print(out, "\nPython:\n\n```python\nfrom %s import %s\n", library, class);
    bytes_print(out, "model = %s.from_pretrained(\".\")\n```\n", class);
}

enum err modelfile_print_commands(const struct publication *p, struct bytes *out)
{
    bytes_append_text(out, TEXT("\n## How to run it\n\nIn this folder:\n"));
    if (p->kind == PUBLICATION_BOTTLENECK) {
        put_heading(out, "qfleet, which alone knows adapters of this kind");
        put_rest(out, "qctl generate BASE --adapter .     # BASE: the folder of ", base_of(p));
        put_end(out);
        return bytes_status(out);
    }
    put_python(p, out);
    if (p->kind == PUBLICATION_PROMPT)
        return bytes_status(out);
    if (p->kind == PUBLICATION_LORA && p->is_merge_only) {
        bytes_append_text(out, TEXT("\nServers take no adapter with scaled columns or whole "
                                    "modules: merge it first, with `merge: full` in a recipe.\n"));
        return bytes_status(out);
    }
    put_vllm(p, out);
    put_llama_server(p, out);
    if (modelfile_fits(p)) {
        put_heading(out, "Ollama");
        bytes_print(out, "ollama create %.*s -f Modelfile\nollama run %.*s\n", TEXT_ARGS(p->handle),
                    TEXT_ARGS(p->handle));
        put_end(out);
    }
    return bytes_status(out);
}
