/* main.c - example-corpus: writes everything that the examples train on, the same bytes each time.
 *
 *   FOLDER/model/          config.json, tokenizer.json, tokenizer_config.json: a Llama of about a
 *                          million parameters, without weights
 *   FOLDER/stories*.jsonl  {"text": story}
 *   FOLDER/questions*.jsonl {"prompt": story and question, "completion": answer}
 */
#include <stdio.h>

#include "common/formats/json/json_write.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"
#include "common/mem/bytes.h"
#include "examples/corpus/corpus_bpe.h"
#include "examples/corpus/corpus_story.h"

enum {
    STORIES = 20000,
    STORIES_TEST = 200,
    QUESTIONS = 12000,
    QUESTIONS_TEST = 200,
    QUESTIONS_FIRST = 1000000, /* stories of their own */
    FILE_BYTES_MAX = 64 << 20,
    TEXT_BYTES_MAX = 1 << 16,
    PATH_BYTES = 4096,
};

static const char config[] = "{\n"
                             "  \"architectures\": [\"LlamaForCausalLM\"],\n"
                             "  \"attention_bias\": false,\n"
                             "  \"bos_token_id\": 0,\n"
                             "  \"eos_token_id\": 1,\n"
                             "  \"hidden_act\": \"silu\",\n"
                             "  \"hidden_size\": 192,\n"
                             "  \"initializer_range\": 0.05,\n"
                             "  \"intermediate_size\": 512,\n"
                             "  \"max_position_embeddings\": 256,\n"
                             "  \"mlp_bias\": false,\n"
                             "  \"model_type\": \"llama\",\n"
                             "  \"num_attention_heads\": 6,\n"
                             "  \"num_hidden_layers\": 2,\n"
                             "  \"num_key_value_heads\": 6,\n"
                             "  \"rms_norm_eps\": 1e-05,\n"
                             "  \"rope_scaling\": null,\n"
                             "  \"rope_theta\": 10000.0,\n"
                             "  \"tie_word_embeddings\": true,\n"
                             "  \"torch_dtype\": \"float32\",\n"
                             "  \"use_cache\": true,\n"
                             "  \"vocab_size\": 512\n"
                             "}\n";

static const char tokenizer_config[] = "{\n"
                                       "  \"bos_token\": \"<s>\",\n"
                                       "  \"clean_up_tokenization_spaces\": false,\n"
                                       "  \"eos_token\": \"</s>\",\n"
                                       "  \"model_max_length\": 256,\n"
                                       "  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n"
                                       "}\n";

static enum err write_file(const char *folder, const char *name, struct span content,
                           struct err_text *et)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return file_write_atomic(path, content, et);
}

/* One row of JSON Lines with one or two members. */
static void add_row(struct bytes *file, const char *first, const struct bytes *a,
                    const char *second, const struct bytes *b)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, TEXT_BYTES_MAX);
    json_write_object_begin(&w, NULL);
    json_write_text(&w, first, (struct text){(const char *)a->data, a->size});
    if (second != NULL)
        json_write_text(&w, second, (struct text){(const char *)b->data, b->size});
    json_write_object_end(&w);
    if (json_write_close(&w, file) == ERR_OK)
        bytes_append_text(file, TEXT("\n"));
}

static enum err write_stories(const char *folder, const char *name, uint64_t first, uint64_t count,
                              struct bytes *corpus, struct err_text *et)
{
    struct bytes file, story;
    bytes_init(&file, FILE_BYTES_MAX);
    bytes_init(&story, TEXT_BYTES_MAX);
    for (uint64_t i = first; i < first + count; i++) {
        bytes_clear(&story);
        corpus_story_print(i, &story);
        add_row(&file, "text", &story, NULL, NULL);
        bytes_append(corpus, story.data, story.size);
    }
    enum err err = bytes_status(&file);
    if (err == ERR_OK)
        err = write_file(folder, name, bytes_span(&file), et);
    bytes_fini(&story);
    bytes_fini(&file);
    return err;
}

static enum err write_questions(const char *folder, const char *name, uint64_t first,
                                uint64_t count, struct err_text *et)
{
    struct bytes file, question, answer;
    bytes_init(&file, FILE_BYTES_MAX);
    bytes_init(&question, TEXT_BYTES_MAX);
    bytes_init(&answer, TEXT_BYTES_MAX);
    for (uint64_t i = first; i < first + count; i++) {
        bytes_clear(&question);
        bytes_clear(&answer);
        corpus_story_ask(i, &question, &answer);
        add_row(&file, "prompt", &question, "completion", &answer);
    }
    enum err err = bytes_status(&file);
    if (err == ERR_OK)
        err = write_file(folder, name, bytes_span(&file), et);
    bytes_fini(&answer);
    bytes_fini(&question);
    bytes_fini(&file);
    return err;
}

static enum err write_model(const char *folder, const struct bytes *corpus, struct err_text *et)
{
    char model[PATH_BYTES];
    struct bytes tokenizer;
    (void)snprintf(model, sizeof model, "%s/model", folder);
    TRY(folder_create(model, et));
    TRY(write_file(model, "config.json", span_of_text(text_of(config)), et));
    TRY(write_file(model, "tokenizer_config.json", span_of_text(text_of(tokenizer_config)), et));
    bytes_init(&tokenizer, FILE_BYTES_MAX);
    enum err err =
        corpus_bpe_print((struct text){(const char *)corpus->data, corpus->size}, &tokenizer);
    if (err == ERR_OK)
        err = write_file(model, "tokenizer.json", bytes_span(&tokenizer), et);
    bytes_fini(&tokenizer);
    return err;
}

static enum err write_all(const char *folder, struct err_text *et)
{
    struct bytes corpus;
    bytes_init(&corpus, FILE_BYTES_MAX);
    enum err err;
    TRY_OUT(folder_create(folder, et));
    TRY_OUT(write_stories(folder, "stories.jsonl", 0, STORIES, &corpus, et));
    TRY_OUT(write_stories(folder, "stories-test.jsonl", STORIES, STORIES_TEST, &corpus, et));
    TRY_OUT(write_questions(folder, "questions.jsonl", QUESTIONS_FIRST, QUESTIONS, et));
    TRY_OUT(write_questions(folder, "questions-test.jsonl", QUESTIONS_FIRST + QUESTIONS,
                            QUESTIONS_TEST, et));
    TRY_OUT(bytes_status(&corpus));
    err = write_model(folder, &corpus, et);
out:
    bytes_fini(&corpus);
    return err;
}

int main(int argc, char **argv)
{
    struct err_text et = {{0}};
    if (argc != 2 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: example-corpus FOLDER\n");
        return error_exit_code(ERR_USAGE);
    }
    enum err err = write_all(argv[1], &et);
    if (err != ERR_OK)
        (void)fprintf(stderr, "example-corpus: %s\n",
                      et.text[0] != '\0' ? et.text : error_text(err));
    return error_exit_code(err);
}
