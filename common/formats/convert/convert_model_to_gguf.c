/* convert_model_to_gguf.c - a model becomes a GGUF file: all steps of convert_gguf.h at once. */
#include "common/formats/convert/convert_gguf.h"
#include "common/formats/convert/convert_model.h"

enum err convert_model_to_gguf(const char *source, const char *path,
                               const struct convert_model_options *options,
                               struct convert_model_report *report, struct err_text *et)
{
    struct convert_gguf *form = NULL;
    enum err err;
    TRY(convert_gguf_open(source, options, &form, et));
    TRY_OUT(convert_gguf_write_file(form, path, et));
    *report = (struct convert_model_report){
        .architecture = convert_gguf_architecture(form),
        .tensor_count = convert_gguf_count(form),
        .size_bytes = convert_gguf_size_bytes(form),
        .has_tokenizer = convert_gguf_has_tokenizer(form),
    };
out:
    convert_gguf_close(&form);
    return err;
}
