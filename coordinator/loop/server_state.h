/* server_state.h - what the files of this folder share: the process's one state. */
#ifndef COORDINATOR_LOOP_SERVER_STATE_H
#define COORDINATOR_LOOP_SERVER_STATE_H

#include <uv.h>

#include "common/ds/list.h"
#include "common/ds/map.h"
#include "common/mem/arena.h"
#include "common/mem/bytes.h"
#include "common/message/message.h"
#include "common/metrics/metric.h"
#include "common/transport/transport.h"
#include "coordinator/artifact/artifact.h"
#include "coordinator/loop/server.h"
#include "coordinator/sched/sched.h"
#include "coordinator/store/store.h"

enum {
    SERVER_CONTROL_BUDGET = 256, /* frames a turn, so that timers and commits get theirs */
    SERVER_BULK_BUDGET = 64,
    SERVER_PATH_BYTES = 4096,
    SERVER_ARENA_BYTES = 256 << 20,
    /* Peers that said nothing for so long are forgotten; workers beat every second. */
    SERVER_CLIENT_SILENT_S = 600,
    SERVER_WORKER_SILENT_S = 60,
};

struct http;

/* Who speaks on the control socket: made by its first HELLO. */
struct server_peer {
    struct map_node by_id;
    struct map_node by_address;
    struct map_node by_session; /* a worker's */
    struct list_node node;      /* of server.peers */
    struct transport_id address;
    uint64_t id; /* struct peer_id, never reused */
    enum transport_role role;
    bool is_worker;
    bool is_deaf; /* nothing reaches it; what it said before that is still read */
    bool is_gone; /* it is removed at the end of the turn */
    char user[TRANSPORT_USER_BYTES];
    char name[LIMIT_NAME_BYTES + 1];
    uint64_t heard_ns;
    struct bytes outbox; /* owned: frames that did not leave yet, each after its u32 size */
};

/* What a turn decided and has not made durable yet. */
struct server_turn {
    struct bytes payloads; /* owned: of the records, one after the other */
    struct bytes records;  /* owned: struct server_turn_record */
    struct bytes sends;    /* owned: u64 peer, u32 size, frame */
    struct bytes unsent;   /* owned: struct server_turn_unsent */
    struct list works;     /* struct server_work */
};

struct server {
    const struct server_options *options; /* borrowed */
    char data_folder[SERVER_PATH_BYTES];  /* absolute: its paths are told to workers */
    uv_loop_t loop;
    uv_poll_t control_poll, bulk_poll;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_timer_t wake;  /* of sched */
    uv_timer_t watch; /* disk, idle peers, unsent frames */
    uv_signal_t signals[3];
    uv_poll_t parent;
    bool has_parent;
    bool is_open;     /* handles are there */
    bool is_stopping; /* nothing new is taken in */
    bool is_retiring; /* STOP: workers were told; ends when they are gone or a moment later */
    int exit_code;
    uint64_t retire_ns;

    struct store *store;              /* owned */
    struct artifact_store *artifacts; /* owned */
    struct sched *sched;              /* owned */
    struct server_scale *scale;       /* owned */
    struct transport *control, *bulk; /* owned */
    struct transport_zap *zap;        /* owned */
    struct supervisor supervisor;
    size_t told_worker_count; /* in its status */
    uint32_t incarnation;
    bool is_disk_low;
    bool is_map_full_said;

    struct list peers;
    struct map peers_by_id, peers_by_address, workers_by_session;
    size_t worker_count, client_count;
    uint64_t next_peer;

    struct server_turn turn;
    struct arena arena;     /* owned: of the frame at hand */
    struct bytes scratch;   /* owned: an encoding */
    struct list stages;     /* struct server_stage: open training states */
    struct list bulk_peers; /* struct server_bulk_peer */
    size_t bulk_peer_count;
    struct list longs; /* struct server_long: on the pool, or waiting */
    size_t long_count;
    size_t works_out;  /* on the pool, of every kind */
    size_t namers_out; /* works and submissions after which a record may name a file */
    bool is_prune_wanted;
    struct bytes prune_waiters; /* owned: see server_prune.c */
    bool is_collecting;
    uint64_t collected_ns; /* when the last collection began */

    struct http *http; /* owned; NULL: off (server_http.h) */
    uv_poll_t http_poll;
    uv_timer_t http_timer;
    bool http_is_due;
    uint64_t started_unix_ms;
    uint64_t turn_end_ns, turn_idle_ns; /* of the last turn: when, and time slept before it */
    uint64_t stepped_ns;                /* when sched was stepped last; the watch sees to it */
    struct metric_histogram turn_seconds, commit_seconds;
};

#endif
