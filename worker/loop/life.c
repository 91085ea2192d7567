/* life.c - see life.h. The file is written in place and never synced: it has to outlive the
 * process, not the machine. */
#include "worker/loop/life.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/message/state.h"

#define LIFE_MAGIC UINT64_C(0x315046494c465151)

enum { EVENTS_BYTES = 4096, NEARLY_PERCENT = 90 };

/* The start of a small file, terminated; "" when it cannot be read. */
static void read_text(const char *path, char out[EVENTS_BYTES])
{
    ssize_t size = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        size = read(fd, out, EVENTS_BYTES - 1);
        (void)close(fd);
    }
    out[size > 0 ? size : 0] = '\0';
}

uint64_t life_count_of(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, size) == 0 && line[size] == ' ') {
            uint64_t value = 0;
            for (const char *c = line + size + 1; *c >= '0' && *c <= '9'; c++)
                value = value * 10 + (uint64_t)(*c - '0');
            return value;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return 0;
}

/* The file of the control group whose line in /proc/self/cgroup has `mark` before its path, below
 * `root`; of a container that sees its own group as the root, there. False when there is none. */
static bool count_below(const char *groups, const char *mark, const char *root, const char *file,
                        uint64_t *out)
{
    char text[EVENTS_BYTES], path[EVENTS_BYTES + 64];
    const char *group = strstr(groups, mark);
    if (group == NULL)
        return false;
    group += strlen(mark);
    int size = (int)strcspn(group, "\n");
    (void)snprintf(path, sizeof path, "%s%.*s/%s", root, size, group, file);
    read_text(path, text);
    if (text[0] == '\0') {
        (void)snprintf(path, sizeof path, "%s/%s", root, file);
        read_text(path, text);
    }
    *out = life_count_of(text, "oom_kill");
    return text[0] != '\0';
}

/* Processes of the control group that the kernel killed for memory so far, in either version of
 * control groups. */
static uint64_t count_oom_kills(void)
{
    char groups[EVENTS_BYTES];
    uint64_t count = 0;
    read_text("/proc/self/cgroup", groups);
    if (!count_below(groups, ":memory:", "/sys/fs/cgroup/memory", "memory.oom_control", &count))
        (void)count_below(groups, "0::", "/sys/fs/cgroup", "memory.events", &count);
    return count;
}

void life_judge(const struct life_record *record, uint64_t oom_kills, char out[LIFE_TEXT_BYTES])
{
    char task[64];
    double rss = (double)record->rss_bytes / (1 << 20);
    double limit = (double)record->limit_bytes / (1 << 20);
    out[0] = '\0';
    if (record->magic != LIFE_MAGIC || record->job == 0 || record->kind >= STAGE_KIND_COUNT)
        return;
    (void)snprintf(task, sizeof task, "stage %s of job %016" PRIx64,
                   state_kind_word((enum stage_kind)record->kind), record->job);
    bool was_full =
        record->limit_bytes > 0 && record->rss_bytes / NEARLY_PERCENT >= record->limit_bytes / 100;
    if (oom_kills > record->oom_kills || was_full)
        (void)snprintf(out, LIFE_TEXT_BYTES, "%s rss %.0f MiB, limit %.0f MiB, %s",
                       oom_kills > record->oom_kills ? "OOM_KILLED"
                                                     : "killed, nearly out of memory",
                       rss, limit, task);
    else
        (void)snprintf(out, LIFE_TEXT_BYTES, "its process before was killed at rss %.0f MiB, %s",
                       rss, task);
}

static void put(struct life *life)
{
    if (life->fd >= 0 &&
        pwrite(life->fd, &life->record, sizeof life->record, 0) != (ssize_t)sizeof life->record) {
        (void)close(life->fd);
        life->fd = -1;
    }
}

void life_open(struct life *life, const char *folder, const char *name, uint64_t limit_bytes)
{
    struct life_record before = {0};
    uint64_t oom_kills = count_oom_kills();
    life->last_end[0] = '\0';
    life->record = (struct life_record){
        .magic = LIFE_MAGIC, .limit_bytes = limit_bytes, .oom_kills = oom_kills};
    (void)snprintf(life->path, sizeof life->path, "%s/life-%s", folder, name);
    life->fd = open(life->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (life->fd < 0)
        return;
    if (pread(life->fd, &before, sizeof before, 0) == (ssize_t)sizeof before)
        life_judge(&before, oom_kills, life->last_end);
    put(life);
}

void life_note(struct life *life, uint64_t job, uint32_t kind)
{
    life->record.job = job;
    life->record.kind = kind;
    put(life);
}

void life_grow(struct life *life, uint64_t rss_bytes)
{
    uint64_t seen = life->record.rss_bytes;
    life->record.rss_bytes = rss_bytes;
    bool is_much = rss_bytes > seen + seen / 64 || rss_bytes + seen / 64 < seen;
    if (life->record.job != 0 && is_much)
        put(life);
}

void life_close(struct life *life)
{
    if (life->fd < 0)
        return;
    (void)unlink(life->path);
    (void)close(life->fd);
    life->fd = -1;
}
