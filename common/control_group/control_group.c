/* control_group.c - small files of the kernel, from the own group upwards.
 *
 * A container may see its own group as the root while its list names the path from outside: those
 * paths do not exist, and the way up ends at the root.
 */
#include "common/control_group/control_group.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"

enum { TEXT_BYTES = 4096, PATH_BYTES = 2 * TEXT_BYTES };

/* Above this, version 1 means that there is no limit. */
#define LIMIT_BYTES_MAX (UINT64_C(1) << 62)

const struct control_group_files control_group_files = {"/proc/self/cgroup", "/sys/fs/cgroup"};

/* The two versions: how a line of the list ends before the path, and where its files lie. */
struct version {
    const char *mark, *folder, *limit, *events;
};
static const struct version versions[] = {
    {":memory:", "/memory", "memory.limit_in_bytes", "memory.oom_control"},
    {"0::", "", "memory.max", "memory.events"},
};

/* The start of a small file, terminated; false when it cannot be read or is empty. */
static bool read_text(const char *path, char out[TEXT_BYTES])
{
    ssize_t size = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, out, TEXT_BYTES - 1);
        (void)close(fd);
    }
    out[size > 0 ? size : 0] = '\0';
    return size > 0;
}

static uint64_t read_number(const char *text)
{
    uint64_t value = 0;
    for (const char *c = text; *c >= '0' && *c <= '9'; c++)
        value = value > UINT64_MAX / 10 - 1 ? UINT64_MAX : value * 10 + (uint64_t)(*c - '0');
    return value;
}

uint64_t control_group_count_of(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, size) == 0 && line[size] == ' ')
            return read_number(line + size + 1);
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

/* The path of the own group from the list, "" for the root; false when the list has no such line.
 */
static bool find_group(const struct control_group_files *files, const struct version *version,
                       char out[TEXT_BYTES])
{
    char list[TEXT_BYTES];
    const char *group = read_text(files->list, list) ? strstr(list, version->mark) : NULL;
    if (group == NULL)
        return false;
    group += strlen(version->mark);
    size_t size = strcspn(group, "\n");
    size -= size > 0 && group[size - 1] == '/';
    memcpy(out, group, size);
    out[size] = '\0';
    return true;
}

/* Reads `file` of the group; false when it has none. */
static bool read_file(const struct control_group_files *files, const struct version *version,
                      const char *group, const char *file, char out[TEXT_BYTES])
{
    char path[PATH_BYTES];
    int size = snprintf(path, sizeof path, "%s%s%s/%s", files->root, version->folder, group, file);
    return size > 0 && (size_t)size < sizeof path && read_text(path, out);
}

/* One group up; false at the root. */
static bool rise(char *group)
{
    char *slash = strrchr(group, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

uint64_t control_group_memory_max(const struct control_group_files *files)
{
    char group[TEXT_BYTES], text[TEXT_BYTES];
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        const struct version *version = &versions[i];
        if (!find_group(files, version, group))
            continue;
        do {
            bool there = read_file(files, version, group, version->limit, text);
            if (there && text[0] >= '0' && text[0] <= '9')
                least = MIN(least, read_number(text));
        } while (rise(group));
    }
    return least < LIMIT_BYTES_MAX ? least : UINT64_MAX;
}

uint64_t control_group_oom_kills(const struct control_group_files *files)
{
    char group[TEXT_BYTES], text[TEXT_BYTES];
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        const struct version *version = &versions[i];
        if (!find_group(files, version, group))
            continue;
        do {
            if (read_file(files, version, group, version->events, text))
                return control_group_count_of(text, "oom_kill");
        } while (rise(group));
    }
    return 0;
}
