/* quality.c - a few figures of many. */
#include "cli/command/quality.h"

#include "cli/render/human.h"
#include "common/formats/json/json_read.h"

enum { REPORT_BYTES_MAX = 256 << 20 };

static enum err read_size(struct json_value size, const char *key, char out[HUMAN_BYTES],
                          struct err_text *et)
{
    int64_t bytes;
    TRY(json_read_i64(size, key, 0, INT64_MAX, &bytes, et));
    (void)human_size((uint64_t)bytes, out);
    return ERR_OK;
}

static enum err print_compared(struct json_value quality, struct json_value size, struct bytes *out,
                               struct err_text *et)
{
    struct json_value base, result;
    struct text rules;
    double before, after, kl, agreement;
    char from[HUMAN_BYTES], to[HUMAN_BYTES];
    TRY(json_read_object(quality, "base", &base, et));
    TRY(json_read_object(quality, "result", &result, et));
    TRY(json_read_f64(base, "perplexity", &before, et));
    TRY(json_read_f64(result, "perplexity", &after, et));
    TRY(json_read_f64(quality, "kl_mean", &kl, et));
    TRY(json_read_f64(quality, "top1_agreement", &agreement, et));
    TRY(json_read_text(quality, "rules", &rules, et));
    TRY(read_size(size, "base_bytes", from, et));
    TRY(read_size(size, "result_bytes", to, et));
    bytes_print(out,
                "perplexity %.4f to %.4f, KL divergence %.6f, same top token %.2f %%, %s to %s\n"
                "(%.*s)\n",
                before, after, kl, 100 * agreement, from, to, TEXT_ARGS(rules));
    return bytes_status(out);
}

static enum err print_report(struct json_value root, struct bytes *out, struct err_text *et)
{
    struct json_value size, quality;
    int64_t tensors;
    double bits;
    bool found = false;
    TRY(json_read_object(root, "size", &size, et));
    TRY(json_read_opt_object(root, "quality", &quality, &found, et));
    if (found)
        return print_compared(quality, size, out, et);
    TRY(json_read_i64(size, "tensors", 0, INT64_MAX, &tensors, et));
    TRY(json_read_f64(size, "bits_per_weight", &bits, et));
    bytes_print(out, "%lld tensors in %.3f bits a weight; test_datasets would tell what it costs\n",
                (long long)tensors, bits);
    return bytes_status(out);
}

static enum err read_perplexity(struct json_value quality, const char *key, double *out,
                                struct err_text *et)
{
    struct json_value losses;
    TRY(json_read_object(quality, key, &losses, et));
    return json_read_f64(losses, "perplexity", out, et);
}

static enum err print_merge(struct json_value root, struct bytes *out, struct err_text *et)
{
    struct json_value quality, full;
    struct text rules, better = {0};
    double trained, merged, other;
    bool found = false, has_full = false;
    TRY(json_read_opt_object(root, "quality", &quality, &found, et));
    if (!found)
        return ERR_OK;
    TRY(read_perplexity(quality, "trained", &trained, et));
    TRY(read_perplexity(quality, "merged", &merged, et));
    TRY(json_read_opt_object(quality, "full", &full, &has_full, et));
    TRY(json_read_opt_text(quality, "better", &better, NULL, et));
    TRY(json_read_text(quality, "rules", &rules, et));
    bytes_print(out, "perplexity %.4f as trained, %.4f merged", trained, merged);
    if (has_full) {
        TRY(read_perplexity(quality, "full", &other, et));
        bytes_print(out, ", %.4f in the full base", other);
    }
    if (better.size > 0)
        bytes_print(out, " (merge: %.*s is better)", TEXT_ARGS(better));
    bytes_print(out, "\n(%.*s)\n", TEXT_ARGS(rules));
    return bytes_status(out);
}

enum err quality_print_merge(const char *path, struct bytes *out, struct err_text *et)
{
    struct json_doc *doc = NULL;
    TRY(json_read_open(path, REPORT_BYTES_MAX, &doc, et));
    enum err err = print_merge(json_read_root(doc), out, et);
    json_read_close(&doc);
    return err;
}

enum err quality_print(const char *path, struct bytes *out, struct err_text *et)
{
    struct json_doc *doc = NULL;
    TRY(json_read_open(path, REPORT_BYTES_MAX, &doc, et));
    enum err err = print_report(json_read_root(doc), out, et);
    json_read_close(&doc);
    return err;
}
