/* dataset_reader.c - finding rows without parsing them. */
#include "common/formats/dataset/dataset_reader.h"

#include <string.h>

#include "common/base/check.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static uint64_t skip_mark(struct span file)
{
    bool mark = file.size >= 3 && memcmp(file.data, "\xEF\xBB\xBF", 3) == 0;
    return mark ? 3 : 0;
}

static uint64_t line_end(struct span file, uint64_t at)
{
    const uint8_t *end = at < file.size ? memchr(file.data + at, '\n', file.size - at) : NULL;
    return end == NULL ? file.size : (uint64_t)(end - file.data);
}

void dataset_reader_init(struct dataset_reader *reader, struct span file, const char *file_name,
                         enum dataset_format format, uint64_t begin, uint64_t end)
{
    ASSERT(format != DATASET_FORMAT_DETECT && begin <= end && end <= file.size);
    *reader = (struct dataset_reader){
        .file = file, .file_name = file_name, .format = format, .at = begin, .end = end};
    if (begin == 0 && end > 0) {
        /* The first line starts at byte 0, also when a mark stands before its text. */
        reader->at = skip_mark(file);
        reader->end = MIN(MAX(end, reader->at + 1), file.size);
    }
    bool inside = begin > 0 && format != DATASET_FORMAT_JSON && file.data[begin - 1] != '\n';
    if (inside) /* the line began before */
        reader->at = MIN(line_end(file, begin) + 1, file.size);
}

uint64_t dataset_reader_line(const struct dataset_reader *reader, const char *at)
{
    const uint8_t *stop = (const uint8_t *)at;
    uint64_t line = 1;
    for (const uint8_t *c = reader->file.data; c < stop; c++) {
        c = memchr(c, '\n', (size_t)(stop - c));
        if (c == NULL)
            break;
        line++;
    }
    return line;
}

static enum err complain(const struct dataset_reader *reader, uint64_t at, struct err_text *et,
                         const char *what)
{
    const char *place = (const char *)reader->file.data + at;
    return error_set(et, ERR_DATA, "%s:%llu: %s", reader->file_name,
                     (unsigned long long)dataset_reader_line(reader, place), what);
}

static enum err check_size(const struct dataset_reader *reader, uint64_t begin, uint64_t end,
                           struct err_text *et)
{
    if (end - begin > DATASET_ROW_BYTES_MAX)
        return complain(reader, begin, et, "the row is longer than 64 MiB");
    return ERR_OK;
}

static enum err next_line(struct dataset_reader *reader, struct text *row, bool *found,
                          struct err_text *et)
{
    while (reader->at < reader->end) {
        uint64_t begin = reader->at;
        uint64_t end = line_end(reader->file, begin);
        reader->at = MIN(end + 1, reader->file.size);
        while (begin < end && is_blank(reader->file.data[begin]))
            begin++;
        while (begin < end && is_blank(reader->file.data[end - 1]))
            end--;
        if (begin == end)
            continue;
        TRY(check_size(reader, begin, end, et));
        *row = (struct text){(const char *)reader->file.data + begin, end - begin};
        *found = true;
        return ERR_OK;
    }
    return ERR_OK;
}

static uint64_t skip_blanks(struct span file, uint64_t at)
{
    while (at < file.size && is_blank(file.data[at]))
        at++;
    return at;
}

/* End of the JSON value that starts at `at` with a bracket, by counting brackets outside of texts;
 * file.size when it never closes. Whether it is good JSON is for the parser. */
static uint64_t value_end(struct span file, uint64_t at)
{
    uint64_t depth = 0;
    bool in_text = false;
    for (; at < file.size; at++) {
        uint8_t c = file.data[at];
        if (in_text) {
            if (c == '\\')
                at++;
            else if (c == '"')
                in_text = false;
        } else if (c == '"') {
            in_text = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return at + 1;
        }
    }
    return file.size;
}

static enum err end_array(struct dataset_reader *reader, uint64_t at, struct err_text *et)
{
    uint64_t rest = skip_blanks(reader->file, at + 1);
    reader->at = reader->end = reader->file.size;
    if (rest != reader->file.size)
        return complain(reader, rest, et, "expected nothing after the array");
    return ERR_OK;
}

/* The next element of an array of objects. */
static enum err next_element(struct dataset_reader *reader, struct text *row, bool *found,
                             struct err_text *et)
{
    struct span file = reader->file;
    uint64_t at = skip_blanks(file, reader->at);
    if (reader->at >= reader->end)
        return ERR_OK;
    bool first = !reader->begun;
    if (first) {
        if (at == file.size || file.data[at] != '[')
            return complain(reader, at, et, "expected '[', the start of an array of rows");
        reader->begun = true;
        at = skip_blanks(file, at + 1);
    }
    if (at < file.size && file.data[at] == ']')
        return end_array(reader, at, et);
    if (!first) {
        if (at == file.size || file.data[at] != ',')
            return complain(reader, at, et,
                            at == file.size ? "the array of rows ends without ']'"
                                            : "expected ',' or ']' between rows");
        at = skip_blanks(file, at + 1);
    }
    if (at == file.size)
        return complain(reader, at, et, "the array of rows ends without ']'");
    if (file.data[at] != '{')
        return complain(reader, at, et, "expected a row, an object that starts with '{'");
    uint64_t end = value_end(file, at);
    TRY(check_size(reader, at, end, et));
    *row = (struct text){(const char *)file.data + at, end - at};
    *found = true;
    reader->at = end;
    /* At the very end of a file that never closes, go on to the complaint. */
    if (end == file.size)
        reader->end = file.size + 1;
    return ERR_OK;
}

static enum err next_text(struct dataset_reader *reader, struct text *row, bool *found)
{
    if (reader->at >= reader->end)
        return ERR_OK;
    uint64_t begin = reader->at;
    uint64_t end = reader->end;
    if (reader->file.data[end - 1] != '\n')
        end = MIN(line_end(reader->file, end) + 1, reader->file.size);
    reader->at = end;
    *row = (struct text){(const char *)reader->file.data + begin, end - begin};
    *found = true;
    return ERR_OK;
}

enum err dataset_reader_next(struct dataset_reader *reader, struct text *row, bool *found,
                             struct err_text *et)
{
    *found = false;
    switch (reader->format) {
    case DATASET_FORMAT_JSONL:
        return next_line(reader, row, found, et);
    case DATASET_FORMAT_JSON:
        return next_element(reader, row, found, et);
    case DATASET_FORMAT_TEXT:
        return next_text(reader, row, found);
    case DATASET_FORMAT_DETECT:
        break;
    }
    return ERR_INTERNAL;
}

enum err dataset_reader_check_kind(struct span file, const char *file_name, struct err_text *et)
{
    static const struct {
        struct text start;
        const char *what;
    } others[] = {
        {{"\x1F\x8B", 2}, "is compressed with gzip; unpack it first"},
        {{"\x28\xB5\x2F\xFD", 4}, "is compressed with zstd; unpack it first"},
        {{"PK\x03\x04", 4}, "is a zip archive; unpack it first"},
        {{"PAR1", 4}, "is a Parquet file; convert it to JSON Lines"},
        {{"ARROW1", 6}, "is an Arrow file; convert it to JSON Lines"},
        {{"\xFF\xFE", 2}, "is UTF-16; convert it to UTF-8"},
        {{"\xFE\xFF", 2}, "is UTF-16; convert it to UTF-8"},
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (file.size >= others[i].start.size &&
            memcmp(file.data, others[i].start.data, others[i].start.size) == 0)
            return error_set(et, ERR_DATA, "%s: %s", file_name, others[i].what);
    if (skip_blanks(file, skip_mark(file)) == file.size)
        return error_set(et, ERR_DATA, "%s: the file is empty", file_name);
    return ERR_OK;
}
