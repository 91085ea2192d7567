/* store_lmdb.c - the only file that knows LMDB.
 *
 * Two tables: `log` holds envelopes under their big-endian number; `meta` holds `head`: the number
 * and link of the newest record, written in the same transaction, so that a cut log is noticed. No
 * read transaction outlives its call; no pointer into the map leaves a transaction.
 */
#include "coordinator/store/store_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/formats/source/folder.h"
#include "common/mem/mem.h"
#include "coordinator/store/envelope.h"
#include "coordinator/store/store_check.h"

enum {
    KEY_BYTES = 8,
    HEAD_BYTES = KEY_BYTES + DIGEST_BYTES,
    PATH_BYTES = 4096,
    LOCK_BYTES = 8192,         /* of LMDB's lock.mdb, with its default number of readers */
    FULL_BYTES_FREE = 64 << 10 /* so little is left where a write ended early for lack of room */
};

struct store_lmdb {
    struct store base;
    MDB_env *env; /* owned */
    MDB_dbi log, meta;
    int lock_fd; /* owned, -1 when not open */
    bool is_new; /* data.mdb was not there */
    uint64_t last;
    struct digest link;
    struct bytes envelope; /* owned: scratch */
};

static struct store_lmdb *lmdb_of(struct store *store)
{
    return (struct store_lmdb *)(void *)store;
}

/* LMDB's codes are negative, errno values positive. */
static enum err error_of(int rc)
{
    if (rc == ENOSPC || rc == MDB_MAP_FULL || rc == EDQUOT)
        return ERR_DISK_FULL;
    if (rc == ENOMEM)
        return ERR_OUT_OF_MEMORY;
    return rc > 0 ? error_from_errno(rc) : ERR_STORE;
}

/* LMDB says EIO of a write that ended early, which is how a disk fills up. */
static int reason_of(const struct store_lmdb *s, int rc)
{
    struct statvfs fs;
    if (rc != EIO || fstatvfs(s->lock_fd, &fs) != 0)
        return rc;
    return (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES_FREE ? ENOSPC : rc;
}

static enum err fail(const struct store_lmdb *s, struct err_text *et, int rc, const char *what)
{
    const char *folder = NULL;
    rc = reason_of(s, rc);
    if (s->env == NULL || mdb_env_get_path(s->env, &folder) != 0 || folder == NULL)
        folder = "store";
    return error_set(et, error_of(rc), "%s: %s: %s", folder, what, mdb_strerror(rc));
}

static void write_key(uint8_t key[KEY_BYTES], uint64_t seq)
{
    for (size_t i = 0; i < KEY_BYTES; i++)
        key[i] = (uint8_t)(seq >> (8 * (KEY_BYTES - 1 - i)));
}

static uint64_t read_key(const void *key)
{
    const uint8_t *bytes = key;
    uint64_t seq = 0;
    for (size_t i = 0; i < KEY_BYTES; i++)
        seq = seq << 8 | bytes[i];
    return seq;
}

static int put_head(struct store_lmdb *s, MDB_txn *txn, uint64_t last, struct digest link)
{
    uint8_t head[HEAD_BYTES];
    write_key(head, last);
    memcpy(head + KEY_BYTES, link.v, sizeof link.v);
    char name[] = "head";
    return mdb_put(txn, s->meta, &(MDB_val){4, name}, &(MDB_val){sizeof head, head}, 0);
}

static enum err put_records(struct store_lmdb *s, MDB_txn *txn, const struct store_record *records,
                            size_t count, struct digest *link, struct err_text *et)
{
    for (size_t i = 0; i < count; i++) {
        bytes_clear(&s->envelope);
        TRY(envelope_write(&records[i], link, &s->envelope));
        uint8_t key[KEY_BYTES];
        write_key(key, s->last + i + 1);
        MDB_val k = {sizeof key, key};
        MDB_val v = {s->envelope.size, s->envelope.data};
        int rc = mdb_put(txn, s->log, &k, &v, MDB_APPEND);
        if (rc != 0)
            return fail(s, et, rc, "put");
    }
    int rc = put_head(s, txn, s->last + count, *link);
    return rc == 0 ? ERR_OK : fail(s, et, rc, "put head");
}

static enum err store_lmdb_append(struct store *store, const struct store_record *records,
                                  size_t count, struct err_text *et)
{
    struct store_lmdb *s = lmdb_of(store);
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return fail(s, et, rc, "begin");
    struct digest link = s->link;
    enum err err = put_records(s, txn, records, count, &link, et);
    if (err != ERR_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return fail(s, et, rc, "commit");
    s->link = link;
    s->last += count;
    return ERR_OK;
}

/* Link of record `seq`, which lies in its envelope. */
static enum err link_at(struct store_lmdb *s, MDB_txn *txn, uint64_t seq, struct digest *link,
                        struct err_text *et)
{
    if (seq == 0) {
        *link = envelope_genesis();
        return ERR_OK;
    }
    uint8_t key[KEY_BYTES];
    write_key(key, seq);
    MDB_val k = {sizeof key, key};
    MDB_val v;
    int rc = mdb_get(txn, s->log, &k, &v);
    if (rc != 0)
        return fail(s, et, rc, "get");
    if (v.mv_size < ENVELOPE_BYTES)
        return error_set(et, ERR_STORE, "record %" PRIu64 " is cut", seq);
    memcpy(link->v, (const uint8_t *)v.mv_data + ENVELOPE_HEAD_BYTES, sizeof link->v);
    return ERR_OK;
}

static enum err visit_from(const struct store_lmdb *s, MDB_cursor *cursor, uint64_t after,
                           struct digest *link, uint64_t *last, store_visit_f visit, void *context,
                           struct err_text *et)
{
    uint8_t key[KEY_BYTES];
    write_key(key, after + 1);
    MDB_val k = {sizeof key, key};
    MDB_val v;
    uint64_t seq = after;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        if (k.mv_size != KEY_BYTES || read_key(k.mv_data) != seq + 1)
            return error_set(et, ERR_STORE, "record %" PRIu64 " is missing", seq + 1);
        struct store_record record;
        TRY(envelope_read((struct span){v.mv_data, v.mv_size}, seq + 1, link, &record, et));
        seq++;
        if (visit != NULL)
            TRY(visit(context, seq, &record));
    }
    *last = seq;
    return rc == MDB_NOTFOUND ? ERR_OK : fail(s, et, rc, "read");
}

static enum err read_chain(struct store_lmdb *s, uint64_t after, struct digest *link,
                           uint64_t *last, store_visit_f visit, void *context, struct err_text *et)
{
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return fail(s, et, rc, "begin");
    enum err err = link_at(s, txn, after, link, et);
    if (err == ERR_OK) {
        rc = mdb_cursor_open(txn, s->log, &cursor);
        err = rc == 0 ? visit_from(s, cursor, after, link, last, visit, context, et)
                      : fail(s, et, rc, "cursor");
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return err;
}

static enum err store_lmdb_read(struct store *store, uint64_t after, store_visit_f visit,
                                void *context, struct err_text *et)
{
    struct store_lmdb *s = lmdb_of(store);
    struct digest link;
    uint64_t last;
    if (after >= s->last)
        return ERR_OK;
    return read_chain(s, after, &link, &last, visit, context, et);
}

static uint64_t store_lmdb_last(const struct store *store)
{
    return ((const struct store_lmdb *)(const void *)store)->last;
}

static unsigned store_lmdb_percent_used(const struct store *store)
{
    const struct store_lmdb *s = (const struct store_lmdb *)(const void *)store;
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &stat) != 0)
        return 100;
    uint64_t used = (uint64_t)info.me_last_pgno * stat.ms_psize;
    return (unsigned)(used / (MAX(info.me_mapsize / 100, 1u)));
}

static void store_lmdb_destroy(struct store *store)
{
    struct store_lmdb *s = lmdb_of(store);
    if (s->env != NULL)
        mdb_env_close(s->env);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd);
    bytes_fini(&s->envelope);
    mem_free(s);
}

static const struct store_methods methods = {.append = store_lmdb_append,
                                             .read = store_lmdb_read,
                                             .last = store_lmdb_last,
                                             .percent_used = store_lmdb_percent_used,
                                             .destroy = store_lmdb_destroy};

/* Names by statfs(2): NFS, SMB, CIFS, SMB2, AFS, Coda, NCP. */
static bool is_network(const char *folder)
{
    static const uint32_t magics[] = {0x6969u,     0x517bu,     0xff534d42u, 0xfe534d42u,
                                      0x5346414fu, 0x73757245u, 0x564cu};
    struct statfs fs;
    if (statfs(folder, &fs) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(magics); i++)
        if ((uint32_t)fs.f_type == magics[i])
            return true;
    return false;
}

static enum err prepare_folder(struct store_lmdb *s, const char *folder, struct err_text *et)
{
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return error_set(et, error_from_errno(errno), "%s: %s", folder, strerror(errno));
    if (is_network(folder))
        return error_set(et, ERR_UNSUPPORTED,
                         "%s: is on a network file system; the store needs a local disk", folder);
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/owner", folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(et, ERR_LIMIT, "%s: the path is too long", folder);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(et, ERR_BUSY, "%s: another coordinator uses this folder", folder);
    return ERR_OK;
}

static enum err open_tables(struct store_lmdb *s, struct err_text *et)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return fail(s, et, rc, "begin");
    rc = mdb_dbi_open(txn, "log", MDB_CREATE, &s->log);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &s->meta);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return fail(s, et, rc, "open tables");
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? ERR_OK : fail(s, et, rc, "commit");
}

/* The head must be the end of the chain just walked. */
static enum err check_head(struct store_lmdb *s, struct err_text *et)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return fail(s, et, rc, "begin");
    char name[] = "head";
    MDB_val v = {0, NULL};
    rc = mdb_get(txn, s->meta, &(MDB_val){4, name}, &v);
    bool is_same = rc == MDB_NOTFOUND
                       ? s->last == 0
                       : rc == 0 && v.mv_size == HEAD_BYTES && read_key(v.mv_data) == s->last &&
                             (s->last == 0 || memcmp((const uint8_t *)v.mv_data + KEY_BYTES,
                                                     s->link.v, sizeof s->link.v) == 0);
    mdb_txn_abort(txn);
    if (!is_same)
        return error_set(et, ERR_STORE,
                         "store: the log ends at record %" PRIu64
                         ", which is not its recorded end; restore it from a backup",
                         s->last);
    return ERR_OK;
}

/* LMDB syncs what it writes, not the folder that names it. */
static enum err sync_folder(const char *folder, struct err_text *et)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/data.mdb", folder);
    TRY(folder_sync_parent(path, et));
    return folder_sync_parent(folder, et);
}

/* LMDB writes to its lock file through a mapping: what is not there already when the disk is full
 * is a signal that kills. */
static enum err reserve_lock(const char *folder, struct err_text *et)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/lock.mdb", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int reason = fd < 0 ? errno : posix_fallocate(fd, 0, LOCK_BYTES);
    if (fd >= 0)
        (void)close(fd);
    if (reason != 0)
        return error_set(et, error_from_errno(reason), "%s: %s", path, strerror(reason));
    return ERR_OK;
}

static enum err open_env(struct store_lmdb *s, const struct store_lmdb_options *options,
                         struct err_text *et)
{
    uint64_t map = options->map_size_bytes;
    char path[PATH_BYTES];
    struct stat status;
    (void)snprintf(path, sizeof path, "%s/data.mdb", options->folder);
    TRY(store_check_file(path, et));
    TRY(reserve_lock(options->folder, et));
    s->is_new = stat(path, &status) == 0 ? status.st_size == 0 : errno == ENOENT;
    if (map == 0)
        map = (uint64_t)STORE_LMDB_MAP_GIB << 30;
    int rc = mdb_env_create(&s->env);
    if (rc != 0)
        return fail(s, et, rc, "create");
    rc = mdb_env_set_mapsize(s->env, (size_t)map);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, 4);
    if (rc == 0)
        rc = mdb_env_open(s->env, options->folder, 0, 0600);
    if (rc != 0)
        return error_set(et, error_of(reason_of(s, rc)), "%s: %s", path,
                         mdb_strerror(reason_of(s, rc)));
    int dead;
    rc = mdb_reader_check(s->env, &dead);
    return rc == 0 ? ERR_OK : fail(s, et, rc, "reader check");
}

/* Of a start that failed before the first record: begun again, it would look like a store that was
 * cut. */
static void remove_new(const char *folder)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/data.mdb", folder);
    (void)unlink(path);
}

enum err store_lmdb_open(const struct store_lmdb_options *options, struct store **out,
                         struct err_text *et)
{
    struct store_lmdb *s = mem_alloc(1, sizeof *s);
    if (s == NULL)
        return error_set(et, ERR_OUT_OF_MEMORY, "store: out of memory");
    s->base.methods = &methods;
    s->lock_fd = -1;
    bytes_init(&s->envelope, SIZE_MAX);
    enum err err;
    TRY_OUT(prepare_folder(s, options->folder, et));
    TRY_OUT(open_env(s, options, et));
    TRY_OUT(open_tables(s, et));
    TRY_OUT(sync_folder(options->folder, et));
    TRY_OUT(read_chain(s, 0, &s->link, &s->last, NULL, NULL, et));
    TRY_OUT(check_head(s, et));
    *out = &s->base;
    return ERR_OK;
out:
    if (s->is_new)
        remove_new(options->folder); /* under the lock, which ends with the next line */
    store_lmdb_destroy(&s->base);
    return err;
}
