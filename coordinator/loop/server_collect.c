/* server_collect.c - see server_collect.h.
 *
 * What is on its way to a record (an input before its submission, an output before its result) is
 * younger than the age that a collection spares.
 */
#include "coordinator/loop/server_collect.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    INTERVAL_S = 600,
    INTERVAL_LOW_S = 60,
    AGE_S = 24 * 3600,
    AGE_LOW_S = 3600, /* the disk is nearly full */
    ROOT_BYTES_MAX = 1 << 30
};

struct collection {
    uv_work_t request;
    struct server *server; /* borrowed */
    struct bytes roots;    /* owned: digests, sorted */
    int64_t before_unix_s;
    uint64_t removed_count;
    enum err err;
    struct err_text et;
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

static void add_root(void *context, struct digest digest)
{
    bytes_append(context, &digest, sizeof digest);
}

static bool is_root(void *context, struct digest digest)
{
    const struct bytes *roots = context;
    return roots->size > 0 && bsearch(&digest, roots->data, roots->size / sizeof digest,
                                      sizeof digest, compare) != NULL;
}

static void on_collect(uv_work_t *request)
{
    struct collection *c = request->data;
    if (c->roots.size > 0)
        qsort(c->roots.data, c->roots.size / sizeof(struct digest), sizeof(struct digest), compare);
    c->err = artifact_collect(c->server->artifacts, is_root, &c->roots, c->before_unix_s,
                              &c->removed_count, &c->et);
}

static void on_collected(uv_work_t *request, int status)
{
    struct collection *c = request->data;
    c->server->works_out--;
    c->server->is_collecting = false;
    if (status == 0 && c->err != ERR_OK)
        server_log("collection: %s", c->et.text);
    else if (c->removed_count > 0)
        server_log("collection: %llu artifacts that no record reaches were removed",
                   (unsigned long long)c->removed_count);
    bytes_fini(&c->roots);
    mem_free(c);
}

void server_collect_turn(struct server *server)
{
    bool is_low = server->is_disk_low;
    uint64_t now_ns = server_now().ns;
    uint64_t interval_ns = (is_low ? INTERVAL_LOW_S : INTERVAL_S) * NS_PER_S;
    if (server->is_collecting || server->is_stopping || now_ns - server->collected_ns < interval_ns)
        return;
    struct collection *c = mem_alloc(1, sizeof *c);
    if (c == NULL)
        return; /* the next turn tries again */
    c->request.data = c;
    c->server = server;
    c->before_unix_s = (int64_t)(server_unix_ms() / 1000) - (is_low ? AGE_LOW_S : AGE_S);
    bytes_init(&c->roots, ROOT_BYTES_MAX);
    sched_each_root(server->sched, add_root, &c->roots);
    if (bytes_status(&c->roots) != ERR_OK) { /* without all roots nothing may go */
        bytes_fini(&c->roots);
        mem_free(c);
        return;
    }
    server->is_collecting = true;
    server->collected_ns = now_ns;
    server->works_out++;
    ASSERT(uv_queue_work(&server->loop, &c->request, on_collect, on_collected) == 0);
}
