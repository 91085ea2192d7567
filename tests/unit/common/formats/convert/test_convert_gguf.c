/* test_convert_gguf.c - a GGUF form made in steps is the file made at once; a GGUF file is as good
 * a source as the folder it came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/formats/convert/convert_gguf.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "tests/unit/common/formats/convert/convert_folders.h"
#include "worker/engine/quant/blocks.h"

/* Under a sanitizer a mix without searches, and every so many tensors in another format. */
#ifndef GGUF_MIX
#define GGUF_MIX   "Q4_K_M"
#define GGUF_EVERY 1
#endif

enum { FILE_BYTES_MAX = 64 << 20, TENSORS_MAX = 256 };

static void decode(enum block_format format, size_t count, const void *from, float *out)
{
    block_decode((enum dtype)format, count, from, out);
}

static void encode(void *context, enum block_format format, size_t rows, size_t columns,
                   const float *x, const float *importance, void *out)
{
    (void)context;
    block_encode((enum dtype)format, rows, columns, x, importance, out);
}

static struct convert_quantize quantize_of(const char *mix)
{
    return (struct convert_quantize){
        .mix = mix != NULL ? convert_mix_named(mix) : NULL,
        .switches = {.head = CONVERT_MIX_ANY, .embedding = CONVERT_MIX_ANY},
        .encoder = {encode, decode, NULL},
    };
}

static struct convert_model_options options_of(const struct convert_quantize *q)
{
    return (struct convert_model_options){
        .name = "test", .format = CONVERT_PLAN_KEEP, .decode = decode, .quantize = q};
}

static struct convert_gguf *open_form(const char *path, const struct convert_model_options *options)
{
    struct convert_gguf *form = NULL;
    struct err_text et = {{0}};
    if (convert_gguf_open(path, options, &form, &et) != ERR_OK)
        fail_msg("%s", et.text);
    return form;
}

/* The file of a form, made here. */
static struct bytes file_of(const char *path, const struct convert_model_options *options)
{
    struct bytes file;
    struct err_text et = {{0}};
    struct convert_gguf *form = open_form(path, options);
    bytes_init(&file, FILE_BYTES_MAX);
    if (convert_gguf_write(form, NULL, NULL, file_sink_bytes, &file, &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(file.size, convert_gguf_size_bytes(form));
    convert_gguf_close(&form);
    return file;
}

static void expect_same_tensors(struct span ours, struct span theirs)
{
    struct gguf a, b;
    struct err_text et = {{0}};
    if (gguf_parse(&a, ours, "ours", &et) != ERR_OK ||
        gguf_parse(&b, theirs, "theirs", &et) != ERR_OK)
        fail_msg("%s", et.text);
    assert_int_equal(a.tensor_count, b.tensor_count);
    for (size_t i = 0; i < a.tensor_count; i++) {
        assert_true(text_equal(a.tensors[i].name, b.tensors[i].name));
        assert_int_equal(a.tensors[i].format, b.tensors[i].format);
        assert_int_equal(a.tensors[i].rank, b.tensors[i].rank);
        assert_memory_equal(a.tensors[i].shape, b.tensors[i].shape, sizeof a.tensors[i].shape);
        if (!span_equal(a.tensors[i].data, b.tensors[i].data))
            fail_msg("%.*s: other bytes", TEXT_ARGS(a.tensors[i].name));
    }
    gguf_close(&a);
    gguf_close(&b);
}

/* Tensors that tasks made: those with a size. */
struct made {
    struct bytes tensors[TENSORS_MAX];
    size_t asked;
};

static enum err give(void *context, size_t index, struct span *out, struct err_text *et)
{
    struct made *made = context;
    made->asked++;
    if (made->asked == 0)
        return error_set(et, ERR_IO, "gone");
    if (made->tensors[index].size > 0)
        *out = bytes_span(&made->tensors[index]);
    return ERR_OK;
}

static void make_tensors(const struct convert_gguf *form, struct made *made, size_t step)
{
    struct err_text et = {{0}};
    size_t count = convert_gguf_count(form);
    assert_in_range(count, 1, TENSORS_MAX);
    for (size_t i = 0; i < count; i++)
        bytes_init(&made->tensors[i], FILE_BYTES_MAX);
    for (size_t i = count; i-- > 0;) { /* the last first */
        if (i % step != 0)
            continue;
        if (convert_gguf_encode(form, i, file_sink_bytes, &made->tensors[i], &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_int_equal(made->tensors[i].size,
                         convert_tensor_size_bytes(convert_gguf_tensor(form, i)));
    }
}

static void drop_tensors(struct made *made)
{
    for (size_t i = 0; i < TENSORS_MAX; i++)
        bytes_fini(&made->tensors[i]);
}

static void test_steps__a_file_of_given_tensors_is_the_file_made_at_once(void **state)
{
    (void)state;
    char model[256];
    static struct made made;
    struct bytes file;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model))
        skip();
    struct convert_quantize q = quantize_of(GGUF_MIX);
    struct convert_model_options options = options_of(&q);
    struct bytes whole = file_of(model, &options);
    struct convert_gguf *form = open_form(model, &options);
    bytes_init(&file, FILE_BYTES_MAX);
    for (size_t step = 1; step <= 3; step++) { /* all given; every second; every third */
        bytes_clear(&file);
        make_tensors(form, &made, step);
        made.asked = 0;
        assert_int_equal(convert_gguf_write(form, give, &made, file_sink_bytes, &file, &et),
                         ERR_OK);
        assert_int_equal(made.asked, convert_gguf_count(form));
        assert_true(span_equal(bytes_span(&file), bytes_span(&whole)));
        drop_tensors(&made);
    }
    assert_true(convert_gguf_has_tokenizer(form));
    assert_string_equal(convert_gguf_architecture(form), "llama");
    bytes_fini(&file);
    bytes_fini(&whole);
    convert_gguf_close(&form);
}

static void test_steps__what_is_given_must_fit(void **state)
{
    (void)state;
    char model[256];
    static struct made made;
    struct bytes file;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/TinyStories-656K", model, sizeof model))
        skip();
    struct convert_quantize q = quantize_of("Q8_0");
    struct convert_model_options options = options_of(&q);
    struct convert_gguf *form = open_form(model, &options);
    bytes_init(&file, FILE_BYTES_MAX);
    make_tensors(form, &made, 1);
    made.tensors[3].size--;
    enum err err = convert_gguf_write(form, give, &made, file_sink_bytes, &file, &et);
    assert_int_equal(err, ERR_SHAPE);
    assert_non_null(strstr(et.text, convert_gguf_tensor(form, 3)->name));
    made.tensors[3].size++;
    made.asked = SIZE_MAX - 2; /* the third call fails */
    err = convert_gguf_write(form, give, &made, file_sink_bytes, &file, &et);
    assert_int_equal(err, ERR_IO);
    assert_string_equal(et.text, "gone");
    bytes_clear(&file); /* and still the form writes its file */
    made.asked = 0;
    assert_int_equal(convert_gguf_write(form, give, &made, file_sink_bytes, &file, &et), ERR_OK);
    assert_int_equal(file.size, convert_gguf_size_bytes(form));
    drop_tensors(&made);
    bytes_fini(&file);
    convert_gguf_close(&form);
}

/* Encoding every tensor as another mix chooses it is what that mix encodes. */
static void test_steps__a_tensor_can_be_made_in_another_format(void **state)
{
    (void)state;
    char model[256], matrix[256];
    struct imatrix importance;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("models/lm-6m/lm-6m.imatrix.dat", matrix, sizeof matrix))
        skip();
    assert_int_equal(imatrix_open(&importance, matrix, &et), ERR_OK);
    struct convert_quantize from = quantize_of("Q4_K_M"), to = quantize_of("IQ4_NL");
    static const struct convert_exception plain = {"attn_q", BLOCK_FORMAT_F16};
    from.importance = to.importance = &importance;
    from.exceptions = &plain; /* weighed as another format all the same */
    from.exception_count = 1;
    struct convert_model_options options = options_of(&from), others = options_of(&to);
    struct convert_gguf *form = open_form(model, &options), *other = open_form(model, &others);
    for (size_t i = 0; i < convert_gguf_count(form); i += GGUF_EVERY) {
        struct bytes ours, theirs;
        if (!convert_gguf_takes_part(form, i))
            continue;
        bytes_init(&ours, FILE_BYTES_MAX);
        bytes_init(&theirs, FILE_BYTES_MAX);
        enum block_format format = convert_gguf_tensor(other, i)->out;
        if (convert_gguf_encode_as(form, i, format, file_sink_bytes, &ours, &et) != ERR_OK ||
            convert_gguf_encode(other, i, file_sink_bytes, &theirs, &et) != ERR_OK)
            fail_msg("%s", et.text);
        assert_true(span_equal(bytes_span(&ours), bytes_span(&theirs)));
        bytes_fini(&ours);
        bytes_fini(&theirs);
    }
    convert_gguf_close(&form);
    convert_gguf_close(&other);
    imatrix_close(&importance);
}

static void test_steps__tensors_are_found_and_counted(void **state)
{
    (void)state;
    char model[256];
    if (!convert_folders_real("models/lm-6m", model, sizeof model))
        skip();
    struct convert_model_options options = options_of(NULL);
    struct convert_gguf *form = open_form(model, &options);
    size_t down = convert_gguf_find(form, TEXT("blk.5.ffn_down.weight"));
    const struct convert_tensor *t = convert_gguf_tensor(form, down);
    assert_int_equal(t->rows, 256);
    assert_int_equal(t->columns, 768);
    assert_int_equal(t->place.role, CONVERT_DOWN);
    assert_int_equal(t->place.layer, 5);
    assert_true(convert_gguf_takes_part(form, down));
    assert_false(
        convert_gguf_takes_part(form, convert_gguf_find(form, TEXT("output_norm.weight"))));
    assert_int_equal(convert_gguf_find(form, TEXT("blk.6.ffn_down.weight")),
                     convert_gguf_count(form));
    uint64_t weights = 0;
    for (size_t i = 0; i < convert_gguf_count(form); i++)
        weights +=
            (uint64_t)convert_gguf_tensor(form, i)->rows * convert_gguf_tensor(form, i)->columns;
    struct convert_gguf_total total = convert_gguf_total(form);
    assert_int_equal(total.weights, weights);
    assert_int_equal(convert_gguf_config(form)->num_hidden_layers, 6);
    convert_gguf_close(&form);
}

static size_t choices_of(const struct convert_gguf *form, struct convert_choice *out)
{
    for (size_t i = 0; i < convert_gguf_count(form); i++)
        out[i] = (struct convert_choice){text_of(convert_gguf_tensor(form, i)->name),
                                         convert_gguf_tensor(form, i)->out};
    return convert_gguf_count(form);
}

static void test_choices__those_of_a_mix_give_its_file(void **state)
{
    (void)state;
    char model[256];
    struct convert_choice choices[TENSORS_MAX];
    if (!convert_folders_real("models/lm-6m", model, sizeof model))
        skip();
    struct convert_quantize mix = quantize_of(GGUF_MIX);
    struct convert_model_options options = options_of(&mix);
    struct convert_gguf *form = open_form(model, &options);
    struct convert_quantize chosen = quantize_of(NULL);
    chosen.choices = choices;
    chosen.choice_count = choices_of(form, choices);
    struct bytes theirs = file_of(model, &options);
    options.quantize = &chosen;
    struct bytes ours = file_of(model, &options); /* called by what most of it is */
    assert_true(span_equal(bytes_span(&ours), bytes_span(&theirs)));
    bytes_fini(&ours);
    bytes_fini(&theirs);
    convert_gguf_close(&form);
}

/* Opening with these choices fails, and says why. */
static void expect_refused(const char *model, const struct convert_choice *choices, size_t count,
                           enum err expected, const char *why)
{
    struct convert_quantize q = quantize_of(NULL);
    struct convert_model_options options = options_of(&q);
    struct convert_gguf *form = NULL;
    struct err_text et = {{0}};
    q.choices = choices;
    q.choice_count = count;
    enum err err = convert_gguf_open(model, &options, &form, &et);
    if (err != expected || strstr(et.text, why) == NULL)
        fail_msg("expected %s (%s), found %s: %s", error_name(expected), why, error_name(err),
                 et.text);
    assert_null(form);
}

static void test_choices__that_the_model_cannot_have_are_named(void **state)
{
    (void)state;
    char model[256];
    static const struct convert_choice unknown[] = {
        {TEXT("blk.9.attn_q.weight"), BLOCK_FORMAT_Q4_0}};
    static const struct convert_choice twice[] = {{TEXT("blk.0.attn_q.weight"), BLOCK_FORMAT_Q4_0},
                                                  {TEXT("blk.0.attn_q.weight"), BLOCK_FORMAT_Q8_0}};
    static const struct convert_choice vector[] = {
        {TEXT("blk.0.attn_norm.weight"), BLOCK_FORMAT_Q4_0}};
    static const struct convert_choice broken[] = {
        {TEXT("blk.0.attn_q.weight"), BLOCK_FORMAT_Q4_K}};
    if (!convert_folders_real("models/TinyStories-656K", model, sizeof model))
        skip();
    expect_refused(model, unknown, 1, ERR_NOT_FOUND, "tensor blk.9.attn_q.weight");
    expect_refused(model, twice, 2, ERR_FORMAT, "tensor blk.0.attn_q.weight");
    expect_refused(model, vector, 1, ERR_UNSUPPORTED, "stays F32");
    expect_refused(model, broken, 1, ERR_SHAPE, "128 columns are no whole blocks of Q4_K");
}

/* A GGUF file with the keys of `like` that a converter wrote, and the tensors of `model` in f32. */
static void write_source(const char *like, const char *model, const char *path)
{
    struct gguf theirs;
    struct gguf_write w;
    struct file_writer file;
    struct err_text et = {{0}};
    struct convert_model_options options = {.format = BLOCK_FORMAT_F32};
    struct convert_gguf *form = open_form(model, &options);
    assert_int_equal(gguf_open(&theirs, like, &et), ERR_OK);
    gguf_write_init(&w);
    for (size_t i = 0; i < theirs.value_count; i++) {
        struct text key = theirs.values[i].key;
        if (text_is(key, "llama.vocab_size")) /* somewhere between: it moves to the end */
            gguf_write_u32(&w, "general.file_type", GGUF_WRITE_FILE_TYPE_F32);
        if (!text_is(key, "general.file_type") && strncmp(key.data, "quantize.", 9) != 0 &&
            !text_is(key, "general.quantization_version"))
            gguf_write_value(&w, &theirs.values[i]);
    }
    for (size_t i = 0; i < convert_gguf_count(form); i++) {
        const struct convert_tensor *t = convert_gguf_tensor(form, i);
        gguf_write_tensor(&w, text_of(t->name), t->out, t->rank, t->shape);
    }
    assert_int_equal(file_writer_open(&file, path, &et), ERR_OK);
    assert_int_equal(gguf_write_header(&w, file_sink_writer, &file), ERR_OK);
    for (size_t i = 0; i < convert_gguf_count(form); i++) {
        struct bytes tensor;
        bytes_init(&tensor, FILE_BYTES_MAX);
        assert_int_equal(convert_gguf_encode(form, i, file_sink_bytes, &tensor, &et), ERR_OK);
        assert_int_equal(gguf_write_data(&w, bytes_span(&tensor)), ERR_OK);
        bytes_fini(&tensor);
    }
    assert_int_equal(gguf_write_finish(&w), ERR_OK);
    assert_int_equal(file_writer_commit(&file, &et), ERR_OK);
    gguf_write_fini(&w);
    gguf_close(&theirs);
    convert_gguf_close(&form);
}

static void test_source__files_from_a_gguf_file_are_those_of_llama_quantize(void **state)
{
    (void)state;
    char model[256], path[256], matrix[256];
    static const struct {
        const char *path, *mix;
        bool is_weighed;
    } references[] = {
        {"models/lm-6m/lm-6m-Q2_K.gguf", "Q2_K", false},
        {"models/lm-6m/lm-6m-Q4_K_M-im.gguf", "Q4_K_M", true},
    };
    struct convert_folders f;
    struct imatrix importance;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m", model, sizeof model) ||
        !convert_folders_real("models/lm-6m/lm-6m.imatrix.dat", matrix, sizeof matrix))
        skip();
    assert_int_equal(imatrix_open(&importance, matrix, &et), ERR_OK);
    convert_folders_make(&f);
    for (size_t i = 0; i < COUNT_OF(references); i++) {
        struct bytes theirs;
        struct convert_quantize q = quantize_of(references[i].mix);
        struct convert_model_options options = options_of(&q);
        if (!convert_folders_real(references[i].path, path, sizeof path))
            skip();
        options.name = NULL;
        q.importance = references[i].is_weighed ? &importance : NULL;
        q.importance_file = "lm/lm-6m.imatrix.dat"; /* as it was called there */
        write_source(path, model, f.gguf);
        struct bytes ours = file_of(f.gguf, &options);
        bytes_init(&theirs, FILE_BYTES_MAX);
        assert_int_equal(file_read(path, FILE_BYTES_MAX, &theirs, &et), ERR_OK);
        assert_true(span_equal(bytes_span(&ours), bytes_span(&theirs))); /* keys and all */
        bytes_fini(&ours);
        bytes_fini(&theirs);
        assert_int_equal(remove(f.gguf), 0);
    }
    imatrix_close(&importance);
    convert_folders_remove(&f);
}

static void test_source__a_gguf_file_of_any_family_is_as_good_as_its_folder(void **state)
{
    (void)state;
    static const char *const families[] = {"llama2",     "llama31",     "mistral",  "gemma",
                                           "gemma2",     "gemma3_text", "falcon7b", "falcon-11b",
                                           "falcon-new", "gpt2",        "phi2",     "phi3",
                                           "phi35",      "qwen2",       "qwen3",    "bitnet"};
    struct convert_folders f;
    convert_folders_make(&f);
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        char folder[128];
        (void)snprintf(folder, sizeof folder, CONVERT_FAMILIES "/%s", families[i]);
        struct convert_quantize q = quantize_of("Q8_0");
        struct convert_model_options plain = options_of(NULL), blocks = options_of(&q);
        convert_folders_to_gguf(&f, folder, CONVERT_PLAN_KEEP);
        struct bytes direct = file_of(folder, &blocks);
        struct bytes again = file_of(f.gguf, &blocks);
        expect_same_tensors(bytes_span(&again), bytes_span(&direct));
        struct bytes kept = file_of(f.gguf, &plain), same;
        bytes_init(&same, FILE_BYTES_MAX);
        assert_int_equal(file_read(f.gguf, FILE_BYTES_MAX, &same, NULL), ERR_OK);
        assert_true(span_equal(bytes_span(&kept), bytes_span(&same)));
        bytes_fini(&direct);
        bytes_fini(&again);
        bytes_fini(&kept);
        bytes_fini(&same);
        assert_int_equal(remove(f.gguf), 0);
    }
    convert_folders_remove(&f);
}

static void write_file(const char *path, struct bytes *file)
{
    assert_int_equal(file_write_atomic(path, bytes_span(file), NULL), ERR_OK);
    bytes_fini(file);
}

static void test_source__blocks_are_refused_unless_allowed(void **state)
{
    (void)state;
    char model[256];
    struct convert_folders f;
    struct convert_gguf *form = NULL;
    struct err_text et = {{0}};
    if (!convert_folders_real("models/lm-6m/lm-6m-Q2_K.gguf", model, sizeof model))
        skip();
    convert_folders_make(&f);
    struct convert_quantize q = quantize_of("Q4_0");
    struct convert_model_options options = options_of(&q), plain = options_of(NULL);
    assert_int_equal(convert_gguf_open(model, &options, &form, &et), ERR_UNSUPPORTED);
    assert_non_null(strstr(et.text, "tensor token_embd.weight is Q6_K already; quantize from the "
                                    "original weights"));
    assert_non_null(strstr(et.text, "--allow-requantize"));
    q.allow_requantize = true;
    q.switches.pure = true; /* none of them stays what it is */
    struct bytes direct = file_of(model, &options);
    plain.format = BLOCK_FORMAT_F32;
    struct bytes decoded = file_of(model, &plain);
    write_file(f.gguf, &decoded);
    struct bytes over_f32 = file_of(f.gguf, &options);
    assert_true(span_equal(bytes_span(&direct), bytes_span(&over_f32))); /* keys too */
    q.switches.pure = false;
    q.mix = convert_mix_named("Q2_K"); /* what it is already: not touched */
    struct bytes untouched = file_of(model, &options), original;
    bytes_init(&original, FILE_BYTES_MAX);
    assert_int_equal(file_read(model, FILE_BYTES_MAX, &original, &et), ERR_OK);
    expect_same_tensors(bytes_span(&untouched), bytes_span(&original));
    options.decode = NULL; /* nobody who could decode */
    q.mix = convert_mix_named("Q4_0");
    assert_int_equal(convert_gguf_open(model, &options, &form, &et), ERR_UNSUPPORTED);
    bytes_fini(&direct);
    bytes_fini(&over_f32);
    bytes_fini(&untouched);
    bytes_fini(&original);
    convert_folders_remove(&f);
}

/* The keys and tensors of a file, with another id under `key`. */
static struct bytes with_token(const struct gguf *g, const char *key, uint32_t id)
{
    struct gguf_write w;
    struct bytes file;
    bytes_init(&file, FILE_BYTES_MAX);
    gguf_write_init(&w);
    for (size_t i = 0; i < g->value_count; i++) {
        if (!text_is(g->values[i].key, key))
            gguf_write_value(&w, &g->values[i]);
    }
    gguf_write_u32(&w, key, id);
    for (size_t i = 0; i < g->tensor_count; i++)
        gguf_write_tensor(&w, g->tensors[i].name, g->tensors[i].format, g->tensors[i].rank,
                          g->tensors[i].shape);
    assert_int_equal(gguf_write_header(&w, file_sink_bytes, &file), ERR_OK);
    for (size_t i = 0; i < g->tensor_count; i++)
        assert_int_equal(gguf_write_data(&w, g->tensors[i].data), ERR_OK);
    assert_int_equal(gguf_write_finish(&w), ERR_OK);
    gguf_write_fini(&w);
    return file;
}

static enum err read_with_token(const struct gguf *from, const char *key, uint32_t id,
                                struct hf_config *config, struct err_text *et)
{
    struct gguf g;
    struct bytes file = with_token(from, key, id);
    assert_int_equal(gguf_parse(&g, bytes_span(&file), "m.gguf", et), ERR_OK);
    enum err err = gguf_config_read(&g, config, et);
    gguf_close(&g);
    bytes_fini(&file);
    return err;
}

static void test_source__ends_beyond_the_vocabulary_are_named(void **state)
{
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    struct convert_folders f;
    struct gguf g;
    struct err_text et = {{0}};
    struct hf_config *config = mem_alloc(1, sizeof *config);
    assert_non_null(config);
    convert_folders_make(&f);
    convert_folders_to_gguf(&f, CONVERT_FAMILIES "/llama2", CONVERT_PLAN_KEEP);
    assert_int_equal(gguf_open(&g, f.gguf, &et), ERR_OK);
    assert_int_equal(gguf_config_read(&g, config, &et), ERR_OK);
    const uint32_t words = config->vocab_size;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        char expected[160];
        (void)snprintf(expected, sizeof expected,
                       "m.gguf: %s: expected a token of the vocabulary, 0 to %u, found %u", keys[i],
                       words - 1, words);
        assert_int_equal(read_with_token(&g, keys[i], words - 1, config, &et), ERR_OK);
        assert_int_equal(read_with_token(&g, keys[i], UINT32_MAX, config, &et), ERR_OK); /* none */
        assert_int_equal(read_with_token(&g, keys[i], words, config, &et), ERR_FORMAT);
        assert_string_equal(et.text, expected);
    }
    assert_int_equal(read_with_token(&g, "tokenizer.ggml.padding_token_id", words, config, &et),
                     ERR_OK);
    assert_int_equal(config->pad_token_id, HF_CONFIG_NO_TOKEN);
    gguf_close(&g);
    mem_free(config);
    convert_folders_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps__a_file_of_given_tensors_is_the_file_made_at_once),
        cmocka_unit_test(test_steps__what_is_given_must_fit),
        cmocka_unit_test(test_steps__a_tensor_can_be_made_in_another_format),
        cmocka_unit_test(test_steps__tensors_are_found_and_counted),
        cmocka_unit_test(test_choices__those_of_a_mix_give_its_file),
        cmocka_unit_test(test_choices__that_the_model_cannot_have_are_named),
        cmocka_unit_test(test_source__files_from_a_gguf_file_are_those_of_llama_quantize),
        cmocka_unit_test(test_source__a_gguf_file_of_any_family_is_as_good_as_its_folder),
        cmocka_unit_test(test_source__blocks_are_refused_unless_allowed),
        cmocka_unit_test(test_source__ends_beyond_the_vocabulary_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
