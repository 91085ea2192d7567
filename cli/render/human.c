/* human.c - quantities to text. */
#include "cli/render/human.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"

const char *human_duration(double seconds, char out[HUMAN_BYTES])
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e9) {
        (void)snprintf(out, HUMAN_BYTES, "-");
        return out;
    }
    if (seconds < 9.95) {
        (void)snprintf(out, HUMAN_BYTES, "%.1fs", seconds);
        return out;
    }
    unsigned long whole = (unsigned long)(seconds + 0.5);
    if (whole < 60)
        (void)snprintf(out, HUMAN_BYTES, "%lus", whole);
    else if (whole < 3600)
        (void)snprintf(out, HUMAN_BYTES, "%lum%02lus", whole / 60, whole % 60);
    else if (whole < 86400)
        (void)snprintf(out, HUMAN_BYTES, "%luh%02lum", whole / 3600, whole / 60 % 60);
    else
        (void)snprintf(out, HUMAN_BYTES, "%lud%02luh", whole / 86400, whole / 3600 % 24);
    return out;
}

const char *human_size(uint64_t bytes, char out[HUMAN_BYTES])
{
    static const char units[] = "BKMGTPE";
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1023.5 && unit + 2 < sizeof units) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        (void)snprintf(out, HUMAN_BYTES, "%" PRIu64, bytes);
    else
        (void)snprintf(out, HUMAN_BYTES, "%.*f%c", value < 9.95 ? 1 : 0, value, units[unit]);
    return out;
}

const char *human_count(uint64_t count, char out[HUMAN_BYTES])
{
    char digits[HUMAN_BYTES];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, count);
    size_t n = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out[n++] = ' ';
        out[n++] = digits[i];
    }
    out[n] = '\0';
    return out;
}

const char *human_number(double value, char out[HUMAN_BYTES])
{
    if (isfinite(value))
        (void)snprintf(out, HUMAN_BYTES, "%.4g", value);
    else
        (void)snprintf(out, HUMAN_BYTES, "-");
    return out;
}

const char *human_time(uint64_t unix_ms, char out[HUMAN_BYTES])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm parts;
    if (unix_ms == 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(out, HUMAN_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        (void)snprintf(out, HUMAN_BYTES, "-");
    return out;
}

const char *human_id(uint64_t id, char out[HUMAN_BYTES])
{
    (void)snprintf(out, HUMAN_BYTES, "%016" PRIx64, id);
    out[7] = '\0';
    return out;
}
