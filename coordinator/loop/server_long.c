/* server_long.c - see server_long.h. */
#include "coordinator/loop/server_long.h"

#include "common/base/check.h"
#include "common/ds/container.h"

enum { LONGS_MAX = LIMIT_CLIENTS };

static struct server_long *of_node(struct list_node *node)
{
    return CONTAINER_OF(node, struct server_long, node);
}

bool server_long_is_out(const struct server *server, uint64_t peer, uint64_t ticket)
{
    for (struct list_node *n = list_first(&server->longs); n != NULL;
         n = list_next(&server->longs, n))
        if (of_node(n)->peer == peer && of_node(n)->ticket == ticket)
            return true;
    return false;
}

static void end(struct server_long *request, enum err err)
{
    list_remove(&request->node);
    request->server->long_count--;
    request->done(request, err);
}

static void on_run(uv_work_t *work)
{
    struct server_long *request = work->data;
    request->err = request->run(request);
}

static void on_ran(uv_work_t *work, int status)
{
    struct server_long *request = work->data;
    struct server *server = request->server;
    server->works_out--;
    if (server->is_stopping || status != 0)
        end(request, ERR_CANCELLED);
    else if (request->err == ERR_BUSY)
        request->is_waiting = true;
    else
        end(request, request->err);
}

static void queue(struct server_long *request)
{
    request->is_waiting = false;
    request->server->works_out++;
    ASSERT(uv_queue_work(&request->server->loop, &request->work, on_run, on_ran) == 0);
}

void server_long_start(struct server_long *request)
{
    struct server *server = request->server;
    if (server->long_count == LONGS_MAX) {
        request->done(request, ERR_BUSY);
        return;
    }
    request->work.data = request;
    list_node_init(&request->node);
    list_append(&server->longs, &request->node);
    server->long_count++;
    queue(request);
}

void server_long_watch(struct server *server)
{
    for (struct list_node *n = list_first(&server->longs); n != NULL;
         n = list_next(&server->longs, n))
        if (of_node(n)->is_waiting)
            queue(of_node(n));
}

void server_long_cancel(struct server *server)
{
    while (!list_is_empty(&server->longs)) {
        ASSERT(of_node(list_first(&server->longs))->is_waiting);
        end(of_node(list_first(&server->longs)), ERR_CANCELLED);
    }
}
