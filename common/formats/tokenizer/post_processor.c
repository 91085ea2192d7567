/* post_processor.c - TemplateProcessing and what amounts to it. Only the form for one text is of
 * use here; pairs are not. */
#include "common/formats/tokenizer/post_processor.h"

#include "common/base/check.h"
#include "common/formats/tokenizer/component.h"

struct reading {
    struct post_processor *post_processor;
    const struct vocab *vocab;
};

static enum err add_id(uint32_t *ids, size_t *count, struct json_value value,
                       const struct vocab *vocab, struct err_text *et)
{
    int64_t id;
    TRY(json_read_as_i64(value, 0, VOCAB_ID_MAX, &id, et));
    if (id >= vocab->size || vocab->tokens[id].data == NULL)
        return json_read_wrong(value, "the id of a token", et);
    if (*count == POST_PROCESSOR_IDS_MAX)
        return json_read_wrong(value, "fewer special tokens", et);
    ids[(*count)++] = (uint32_t)id;
    return ERR_OK;
}

/* {"SpecialToken": {"id": NAME}} with the ids of NAME in "special_tokens". */
static enum err add_special(struct post_processor *p, struct json_value processor,
                            struct json_value special, bool after, const struct vocab *vocab,
                            struct err_text *et)
{
    struct text name;
    struct json_value table, ids;
    TRY(json_read_text(special, "id", &name, et));
    TRY(json_read_object(processor, "special_tokens", &table, et));
    struct json_value entry = json_read_find(table, name.data);
    TRY(json_read_array(entry, "ids", &ids, et));
    for (size_t i = 0; i < json_read_count(ids); i++)
        TRY(add_id(after ? p->suffix : p->prefix, after ? &p->suffix_count : &p->prefix_count,
                   json_read_item(ids, i), vocab, et));
    return ERR_OK;
}

static enum err read_template(struct post_processor *p, struct json_value value,
                              const struct vocab *vocab, struct err_text *et)
{
    struct json_value single;
    bool after = false;
    TRY(json_read_array(value, "single", &single, et));
    for (size_t i = 0; i < json_read_count(single); i++) {
        struct json_value item = json_read_item(single, i);
        struct json_value special = json_read_find(item, "SpecialToken");
        if (!json_read_is_absent(special)) {
            TRY(add_special(p, value, special, after, vocab, et));
            continue;
        }
        struct json_value sequence;
        TRY(json_read_object(item, "Sequence", &sequence, et));
        if (after)
            return json_read_wrong(item, "one Sequence", et);
        after = true;
    }
    return after ? ERR_OK : json_read_wrong(single, "one Sequence", et);
}

/* "cls": [text, id] before, "sep": [text, id] after. */
static enum err read_cls_sep(struct post_processor *p, struct json_value value,
                             const struct vocab *vocab, struct err_text *et)
{
    struct json_value cls, sep;
    TRY(json_read_array(value, "cls", &cls, et));
    TRY(json_read_array(value, "sep", &sep, et));
    TRY(add_id(p->prefix, &p->prefix_count, json_read_item(cls, 1), vocab, et));
    return add_id(p->suffix, &p->suffix_count, json_read_item(sep, 1), vocab, et);
}

static enum err read_step(void *context, struct text type, struct json_value value,
                          struct err_text *et)
{
    const struct reading *reading = context;
    struct post_processor *p = reading->post_processor;
    if (text_is(type, "ByteLevel")) /* offsets only */
        return ERR_OK;
    bool is_template = text_is(type, "TemplateProcessing");
    if (!is_template && !text_is(type, "RobertaProcessing") && !text_is(type, "BertProcessing"))
        return error_set(et, ERR_UNSUPPORTED,
                         "post-processor '%.*s' is not supported (known: TemplateProcessing, "
                         "ByteLevel, RobertaProcessing, BertProcessing, Sequence)",
                         TEXT_ARGS(type));
    if (p->prefix_count > 0 || p->suffix_count > 0)
        return error_set(et, ERR_UNSUPPORTED,
                         "two post-processors that add tokens are not supported");
    return is_template ? read_template(p, value, reading->vocab, et)
                       : read_cls_sep(p, value, reading->vocab, et);
}

enum err post_processor_read(struct post_processor *post_processor, struct json_value value,
                             const struct vocab *vocab, struct err_text *et)
{
    struct reading reading = {post_processor, vocab};
    *post_processor = (struct post_processor){0};
    return component_read(value, "processors", read_step, &reading, et);
}
