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
#include "common/control_group/control_group.h"
#include "common/message/state.h"

#define LIFE_MAGIC UINT64_C(0x315046494c465151)

enum { NEARLY_PERCENT = 90 };

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
    uint64_t oom_kills = control_group_oom_kills(&control_group_files);
    life->last_end[0] = '\0';
    life->last_job = 0;
    life->record = (struct life_record){
        .magic = LIFE_MAGIC, .limit_bytes = limit_bytes, .oom_kills = oom_kills};
    (void)snprintf(life->path, sizeof life->path, "%s/life-%s", folder, name);
    life->fd = open(life->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (life->fd < 0)
        return;
    if (pread(life->fd, &before, sizeof before, 0) == (ssize_t)sizeof before)
        life_judge(&before, oom_kills, life->last_end);
    if (life->last_end[0] != '\0')
        life->last_job = before.job;
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
    uint64_t kept = life->record.rss_bytes;
    if (rss_bytes <= kept + kept / 64 && rss_bytes + kept / 64 >= kept)
        return; /* written only when it counts, and however slowly it grew */
    life->record.rss_bytes = rss_bytes;
    if (life->record.job != 0)
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
