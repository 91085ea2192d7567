/* publishing.c - see publishing.h. */
#include "cli/command/publishing.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/publish/model_card.h"
#include "cli/publish/modelfile.h"
#include "common/base/check.h"
#include "common/formats/gguf/gguf_config.h"
#include "common/formats/hf/hf_config.h"
#include "common/formats/peft/peft_adapter.h"
#include "common/formats/peft/peft_insert.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/mem/mem.h"
#include "common/message/state.h"
#include "common/recipe/recipe_variant.h"
#include "worker/task/task_settings.h"

enum { ARENA_BYTES_MAX = 64 << 20, FILE_BYTES_MAX = 16 << 20, FACTS_MAX = 16 };
enum { CONTEXT_DEFAULT = 4096 };

/* One publication under way. */
struct work {
    const struct publishing *p;
    struct publication about;
    struct recipe recipe;  /* owned; of the variant */
    struct bytes text;     /* owned; its canonical text */
    struct arena arena;    /* owned */
    struct tokenizer *own; /* owned; of the result's files, or NULL */
    struct publication_fact facts[FACTS_MAX];
    FILE *messages;
};

static const char *path_in(struct work *w, const char *name)
{
    return folder_join(&w->arena, w->p->folder, name);
}

static bool has_file(const struct folder_listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->count; i++)
        if (strcmp(listing->entries[i].name, name) == 0)
            return true;
    return false;
}

static enum err write_file(struct work *w, const char *name, struct span content,
                           struct err_text *et)
{
    const char *path = path_in(w, name);
    return path != NULL ? file_write_atomic(path, content, et) : ERR_OUT_OF_MEMORY;
}

/* ---- what kind of result it is ---- */

static enum err read_lora(struct work *w, struct err_text *et)
{
    struct peft_config config;
    const char *path = path_in(w, PEFT_ADAPTER_CONFIG_FILE);
    TRY(path != NULL ? peft_config_open(&config, path, &w->arena, et) : ERR_OUT_OF_MEMORY);
    w->about.kind = PUBLICATION_LORA;
    w->about.rank = config.r;
    for (size_t i = 0; i < config.rank_pattern_count; i++)
        w->about.rank = MAX(w->about.rank, (uint32_t)config.rank_patterns[i].value);
    w->about.is_merge_only = config.use_dora || config.save_count > 0;
    if (w->p->words.base_model == NULL)
        return ERR_OK;
    struct bytes text;
    config.base_model = w->about.base_model;
    bytes_init(&text, FILE_BYTES_MAX);
    enum err err = peft_config_print(&config, &text);
    if (err == ERR_OK)
        err = write_file(w, PEFT_ADAPTER_CONFIG_FILE, bytes_span(&text), et);
    bytes_fini(&text);
    return err;
}

static enum err read_adapter(struct work *w, struct err_text *et)
{
    bool is_insert = false;
    struct peft_insert insert;
    TRY(peft_insert_probe(w->p->folder, &is_insert, et));
    if (!is_insert)
        return read_lora(w, et);
    TRY(peft_insert_open(&insert, w->p->folder, et));
    bool is_prompt = insert.config.kind == PEFT_INSERT_PROMPT;
    peft_insert_close(&insert);
    w->about.kind = is_prompt ? PUBLICATION_PROMPT : PUBLICATION_BOTTLENECK;
    return ERR_OK;
}

static enum err read_positions(struct work *w, struct err_text *et)
{
    struct gguf gguf;
    struct hf_config *config = mem_alloc(1, sizeof *config);
    enum err err = config != NULL ? ERR_OK : ERR_OUT_OF_MEMORY;
    const char *path =
        err == ERR_OK
            ? path_in(w, w->about.kind == PUBLICATION_GGUF ? w->about.gguf.data : "config.json")
            : NULL;
    if (err == ERR_OK && w->about.kind == PUBLICATION_GGUF) {
        err = gguf_open(&gguf, path, et);
        if (err == ERR_OK) {
            err = gguf_config_read(&gguf, config, et);
            gguf_close(&gguf);
        }
    } else if (err == ERR_OK) {
        err = hf_config_open(config, path, et);
        w->about.is_quantized = err == ERR_OK && config->quantized;
    }
    if (err == ERR_OK)
        w->about.context = MIN(w->about.context, (uint64_t)config->max_position_embeddings);
    mem_free(config);
    return err;
}

/* The files in the folder say what it is: a merged model has its adapter in a folder below. */
static enum err read_kind(struct work *w, const struct folder_listing *listing, struct err_text *et)
{
    if (has_file(listing, PEFT_ADAPTER_CONFIG_FILE))
        return read_adapter(w, et);
    w->about.kind = PUBLICATION_MODEL;
    if (has_file(listing, "config.json"))
        return read_positions(w, et);
    for (size_t i = 0; i < listing->count && w->about.gguf.size == 0; i++) {
        struct text name = text_of(listing->entries[i].name);
        if (name.size > 5 && memcmp(name.data + name.size - 5, ".gguf", 5) == 0)
            w->about.gguf = name;
    }
    if (w->about.gguf.size == 0)
        return error_set(et, ERR_NOT_FOUND,
                         "%s: neither an adapter nor a model is among the results of job %.*s",
                         w->p->folder, TEXT_ARGS(w->p->job->row.name));
    w->about.kind = PUBLICATION_GGUF;
    w->about.is_quantized = true;
    return read_positions(w, et);
}

/* ---- how it came about ---- */

static void add_fact(struct work *w, const char *name, const char *value)
{
    if (value != NULL && w->about.fact_count < FACTS_MAX)
        w->facts[w->about.fact_count++] = (struct publication_fact){text_of(name), text_of(value)};
}

static void add_loss(struct work *w, const char *name, double value)
{
    if (isfinite(value))
        add_fact(w, name, arena_print(&w->arena, "%.6f", value));
}

static uint64_t steps_of(const struct work *w)
{
    const struct msg_job *job = w->p->job;
    for (uint32_t i = 0; i < job->stages_count; i++)
        if (job->stages[i].kind == STAGE_KIND_TRAIN && job->stages[i].variant == w->p->variant)
            return job->stages[i].done;
    return 0;
}

static void list_facts(struct work *w)
{
    const struct recipe *r = &w->recipe;
    char spec[DIGEST_HEX_BYTES];
    digest_hex(w->p->job->row.spec, spec);
    if (w->about.base_model.size > 0)
        add_fact(w, "base model", arena_copy_text(&w->arena, w->about.base_model));
    if (w->about.revision.size > 0)
        add_fact(w, "revision", arena_copy_text(&w->arena, w->about.revision));
    if (w->about.is_trained) {
        add_fact(w, "optimizer steps", arena_print(&w->arena, "%" PRIu64, steps_of(w)));
        add_fact(w, "rows a step", arena_print(&w->arena, "%" PRIu64, recipe_round_rows(r)));
        add_fact(w, "learning rate", arena_print(&w->arena, "%g", r->learning_rate));
    }
    if (w->about.kind == PUBLICATION_LORA)
        add_fact(w, "rank", arena_print(&w->arena, "%" PRIu32, w->about.rank));
    add_fact(w, "tokens a row", arena_print(&w->arena, "%" PRIu64, r->sequence_len));
    add_loss(w, "training loss", w->about.loss);
    add_loss(w, "held-out loss", w->about.eval_loss);
    add_fact(w, "seed", arena_print(&w->arena, "%" PRIu64, r->seed));
    add_fact(w, "numeric profile", recipe_profile_name(r));
    if (w->about.chat != NULL)
        add_fact(w, "chat template", chat_template_name(w->about.chat));
    add_fact(w, "recipe and data", arena_print(&w->arena, "`%s`", spec));
    w->about.facts = w->facts;
}

static const char *use_of(struct text input)
{
    static const struct {
        const char *folder, *use;
    } uses[] = {{"data/", "training"}, {"test/", "held out"}, {"calib/", "calibration"}};
    for (size_t i = 0; i < COUNT_OF(uses); i++) {
        size_t size = strlen(uses[i].folder);
        if (input.size > size && memcmp(input.data, uses[i].folder, size) == 0)
            return uses[i].use;
    }
    return NULL;
}

static struct text file_of(struct text input)
{
    size_t begin = input.size;
    while (begin > 0 && input.data[begin - 1] != '/')
        begin--;
    return (struct text){input.data + begin, input.size - begin};
}

static enum err list_data(struct work *w)
{
    const struct msg_job *job = w->p->job;
    struct publication_data *data = arena_alloc(&w->arena, job->inputs_count + 1, sizeof *data);
    if (data == NULL)
        return ERR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < job->inputs_count; i++) {
        const struct artifact_ref *ref = &job->inputs[i];
        const char *use = use_of(ref->name);
        char hex[DIGEST_HEX_BYTES];
        digest_hex(ref->digest, hex);
        const char *digest = use != NULL ? arena_copy_text(&w->arena, text_of(hex)) : NULL;
        if (digest != NULL)
            data[w->about.data_count++] = (struct publication_data){
                file_of(ref->name), text_of(use), text_of(digest), ref->size_bytes};
    }
    w->about.data = data;
    return ERR_OK;
}

/* ---- the chat ---- */

static bool is_put_before(const struct tokenizer *tokenizer, uint32_t id)
{
    struct tokenizer_affix prefix = tokenizer_prefix(tokenizer);
    for (size_t i = 0; i < prefix.count; i++)
        if (prefix.ids[i] == id)
            return true;
    return false;
}

/* A result without a tokenizer, or with a template that is not known, has a card all the same. */
static enum err read_chat(struct work *w, const struct folder_listing *listing, struct err_text *et)
{
    bool in_gguf = w->about.kind == PUBLICATION_GGUF;
    const char *path = in_gguf ? path_in(w, w->about.gguf.data) : w->p->folder;
    TRY(path != NULL ? ERR_OK : ERR_OUT_OF_MEMORY);
    enum err err = tokenizer_open(path, &w->own, et);
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    struct text jinja = tokenizer_chat_template(w->own);
    struct tokenizer_roles roles = tokenizer_roles(w->own);
    struct chat_render_options spelling = chat_template_options(w->own);
    w->about.chat = jinja.size > 0 ? chat_template_recognise(jinja) : NULL;
    w->about.bos = spelling.bos;
    w->about.eos = spelling.eos;
    w->about.adds_bos = roles.bos != TOKENIZER_NONE && is_put_before(w->own, roles.bos);
    if (jinja.size > 0 && w->about.chat == NULL)
        (void)fprintf(w->messages, "the chat template is none that is known: the Modelfile has "
                                   "none, write one before `ollama create`\n");
    if (jinja.size > 0 && !has_file(listing, "chat_template.jinja"))
        return write_file(w, "chat_template.jinja", span_of_text(jinja), et);
    return ERR_OK;
}

/* ---- names ---- */

/* Lower case, digits, '.', '-' and '_', the first a letter or digit: what shells, vLLM and Ollama
 * all take, and no option. */
static struct text handle_of(struct work *w, struct text name)
{
    char *handle = arena_copy_text(&w->arena, name);
    for (char *c = handle; c != NULL && *c != '\0'; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
        bool is_plain = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '.' ||
                        *c == '_' || *c == '-';
        *c = is_plain ? *c : '-';
    }
    if (handle != NULL)
        handle += strspn(handle, "-._");
    return handle != NULL && handle[0] != '\0' ? text_of(handle) : TEXT("model");
}

static struct text chosen(const char *word, struct text otherwise)
{
    return word != NULL ? text_of(word) : otherwise;
}

static void fill_names(struct work *w)
{
    const struct publishing_words *words = &w->p->words;
    const struct recipe *r = &w->recipe;
    w->about.name = chosen(words->name, w->p->job->row.name);
    w->about.handle = handle_of(w, w->about.name);
    w->about.license = chosen(words->license, TEXT(""));
    if (!r->random_init || words->base_model != NULL)
        w->about.base_model = chosen(words->base_model, task_settings_base_model(r));
    w->about.base_path = text_of(r->base_model != NULL ? r->base_model : "");
    w->about.revision = text_of(r->model_revision != NULL ? r->model_revision : "");
    w->about.is_trained = recipe_trains(r);
    w->about.is_quantized = recipe_quantizes(r);
    w->about.context = MAX(r->sequence_len, (uint64_t)CONTEXT_DEFAULT);
    struct text base = w->about.base_model;
    if (base.size > 0 && memchr(base.data, '/', base.size) == NULL)
        (void)fprintf(w->messages,
                      "\"%.*s\" is no owner/name of a hub: say --base-model, or "
                      "base_model_name in the recipe\n",
                      TEXT_ARGS(base));
    if (w->about.license.size == 0)
        (void)fprintf(w->messages, "no license is said: --license, such as apache-2.0\n");
}

static void fill_losses(struct work *w)
{
    const struct job_row *row = &w->p->job->row;
    bool is_group = w->p->variant < row->variants_count;
    w->about.loss = is_group ? row->variants[w->p->variant].loss : row->loss;
    w->about.eval_loss = is_group ? row->variants[w->p->variant].eval_loss : row->eval_loss;
}

/* ---- writing ---- */

static enum err write_all(struct work *w, struct err_text *et)
{
    struct bytes out;
    bytes_init(&out, FILE_BYTES_MAX);
    enum err err = ERR_OK;
    TRY_OUT(model_card_print(&w->about, &out)); /* first: whose folder it is, the card says */
    TRY_OUT(write_file(w, "README.md", bytes_span(&out), et));
    TRY_OUT(write_file(w, "recipe.yml", span_of_text(w->about.recipe), et));
    bytes_clear(&out);
    if (modelfile_fits(&w->about)) {
        TRY_OUT(modelfile_print(&w->about, &out));
        TRY_OUT(write_file(w, "Modelfile", bytes_span(&out), et));
    }
out:
    bytes_fini(&out);
    return err;
}

static enum err gather(struct work *w, struct err_text *et)
{
    struct folder_listing listing;
    TRY(recipe_variant_parse(w->p->job->recipe, w->p->variant, &w->recipe, et));
    recipe_write(&w->recipe, &w->text);
    TRY(bytes_status(&w->text));
    w->about.recipe = (struct text){(const char *)w->text.data, w->text.size};
    fill_names(w);
    fill_losses(w);
    TRY(folder_list(w->p->folder, &w->arena, &listing, et));
    TRY(read_kind(w, &listing, et));
    TRY(read_chat(w, &listing, et));
    TRY(list_data(w));
    list_facts(w);
    return ERR_OK;
}

enum err publishing_write(const struct publishing *publishing, FILE *messages, struct err_text *et)
{
    struct work *w = mem_alloc(1, sizeof *w);
    if (w == NULL)
        return ERR_OUT_OF_MEMORY;
    *w = (struct work){.p = publishing, .messages = messages};
    arena_init(&w->arena, ARENA_BYTES_MAX);
    bytes_init(&w->text, FILE_BYTES_MAX);
    enum err err = gather(w, et);
    if (err == ERR_OK)
        err = write_all(w, et);
    tokenizer_close(&w->own);
    recipe_fini(&w->recipe);
    bytes_fini(&w->text);
    arena_fini(&w->arena);
    mem_free(w);
    return err;
}
