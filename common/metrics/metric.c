/* metric.c - see metric.h. */
#include "common/metrics/metric.h"

#include <inttypes.h>
#include <math.h>

#include "common/base/check.h"

enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE, METRIC_TYPE_HISTOGRAM };

static const struct {
    const char *name;
    enum metric_type type;
    const char *label;
    const char *help;
} rows[] = {
#define METRIC_ROW(NAME, name, type, label, help) {name, METRIC_TYPE_##type, label, help},
    METRIC_ROWS(METRIC_ROW)
#undef METRIC_ROW
};

static const char *const type_words[] = {"counter", "gauge", "histogram"};

static const struct {
    double seconds;
    const char *text;
} bounds[METRIC_BUCKETS] = {
    {1e-5, "1e-05"},  {2.5e-5, "2.5e-05"}, {5e-5, "5e-05"},
    {1e-4, "0.0001"}, {2.5e-4, "0.00025"}, {5e-4, "0.0005"},
    {1e-3, "0.001"},  {2.5e-3, "0.0025"},  {5e-3, "0.005"},
    {1e-2, "0.01"},   {2.5e-2, "0.025"},   {5e-2, "0.05"},
    {0.1, "0.1"},     {0.25, "0.25"},      {0.5, "0.5"},
    {1, "1"},         {2.5, "2.5"},        {5, "5"},
    {10, "10"},
};

void metric_observe(struct metric_histogram *histogram, double seconds)
{
    size_t bucket = 0;
    if (!(seconds >= 0) || !isfinite(seconds))
        return;
    while (bucket < METRIC_BUCKETS && seconds > bounds[bucket].seconds)
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum += seconds;
}

void metric_begin(struct bytes *out, enum metric metric)
{
    bytes_print(out, "# HELP %s %s\n# TYPE %s %s\n", rows[metric].name, rows[metric].help,
                rows[metric].name, type_words[rows[metric].type]);
}

/* A label's value in quotes: backslash, quote and line feed are escaped. */
static void print_label(struct bytes *out, const char *key, const char *value)
{
    bytes_print(out, "{%s=\"", key);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n')
            bytes_append(out, "\\n", 2);
        else if (*c == '\\' || *c == '"')
            bytes_print(out, "\\%c", *c);
        else
            bytes_append(out, c, 1);
    }
    bytes_append(out, "\"}", 2);
}

static void print_name(struct bytes *out, enum metric metric, const char *label)
{
    bool is_labelled = rows[metric].label[0] != '\0';
    ASSERT(is_labelled == (label != NULL));
    bytes_print(out, "%s", rows[metric].name);
    if (is_labelled)
        print_label(out, rows[metric].label, label);
}

static void print_number(struct bytes *out, double value)
{
    if (isnan(value))
        bytes_print(out, " NaN\n");
    else if (isinf(value))
        bytes_print(out, value > 0 ? " +Inf\n" : " -Inf\n");
    else
        bytes_print(out, " %.15g\n", value);
}

void metric_count(struct bytes *out, enum metric metric, const char *label, uint64_t value)
{
    print_name(out, metric, label);
    bytes_print(out, " %" PRIu64 "\n", value);
}

void metric_number(struct bytes *out, enum metric metric, const char *label, double value)
{
    print_name(out, metric, label);
    print_number(out, value);
}

void metric_single(struct bytes *out, enum metric metric, double value)
{
    metric_begin(out, metric);
    metric_number(out, metric, NULL, value);
}

void metric_seconds(struct bytes *out, enum metric metric, const struct metric_histogram *histogram)
{
    uint64_t count = 0;
    metric_begin(out, metric);
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        count += histogram->counts[i];
        bytes_print(out, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", rows[metric].name, bounds[i].text,
                    count);
    }
    count += histogram->counts[METRIC_BUCKETS];
    bytes_print(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum", rows[metric].name, count,
                rows[metric].name);
    print_number(out, histogram->sum);
    bytes_print(out, "%s_count %" PRIu64 "\n", rows[metric].name, count);
}
