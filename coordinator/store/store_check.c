/* store_check.c - see store_check.h. */
#include "coordinator/store/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/mem/mem.h"

enum {
    PAGE_BYTES_MIN = 512,
    PAGE_BYTES_MAX = 65536,
    HEAD_BYTES = 16, /* of a page: number 8, pad 2, flags 2, lower 2, upper 2 (or pages 4) */
    NODE_BYTES = 8,  /* of a node: size or page number 4, flags 2, key size 2 */
    TREE_BYTES = 48, /* MDB_db: pad 4, flags 2, depth 2, three counts, entries, root: 8 each */
    META_BYTES = 24 + 2 * TREE_BYTES + 16, /* magic, version, address, map size; two trees; end */
    DEPTH_MAX = 32,
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_OVERFLOW = 0x04,
    PAGE_META = 0x08,
    NODE_BIG = 0x01,
    NODE_TREE = 0x02
};

#define META_MAGIC    0xbeefc0deu
#define META_VERSION  1u
#define NO_PAGE       UINT64_MAX
#define FILE_SIZE_MAX ((uint64_t)1 << 46)

struct check {
    const char *path;
    int fd;
    uint64_t size_bytes; /* of the file */
    uint64_t page_bytes;
    uint64_t last_page;
    uint64_t seen;   /* pages reached: more than there are is a loop */
    uint8_t *buffer; /* owned: a page for each level of a tree, and one of overflow */
    struct err_text *et;
};

static uint64_t get(const uint8_t *at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static enum err damaged(const struct check *c, uint64_t page, const char *what)
{
    return error_set(c->et, ERR_STORE,
                     "%s: page %" PRIu64 " of %" PRIu64 " %s (the file has %" PRIu64
                     " bytes): it was cut or overwritten; restore the store from a backup",
                     c->path, page, c->last_page + 1, what, c->size_bytes);
}

static enum err read_at(const struct check *c, uint64_t offset, uint8_t *out, size_t size)
{
    while (size > 0) {
        ssize_t done = pread(c->fd, out, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return error_set(c->et, ERR_IO, "%s: %s", c->path,
                             done < 0 ? strerror(errno) : "the file became shorter");
        out += done;
        offset += (uint64_t)done;
        size -= (size_t)done;
    }
    return ERR_OK;
}

/* Reads page `number` with the head of its kind; `count` pages must lie inside the file. */
static enum err read_page(struct check *c, uint64_t number, uint64_t count, uint8_t *page)
{
    if (number > c->last_page || count > c->last_page + 1 - number)
        return damaged(c, number, "is named, and there are not so many");
    if ((number + count) * c->page_bytes > c->size_bytes)
        return damaged(c, number, "lies beyond the end");
    if ((c->seen += count) > c->last_page + 1)
        return damaged(c, number, "is reached in a circle");
    TRY(read_at(c, number * c->page_bytes, page, (size_t)c->page_bytes));
    return get(page, 8) == number ? ERR_OK : damaged(c, number, "does not hold its own number");
}

/* The pages after an overflow page carry no head; how many there are, the first one says. */
static enum err check_overflow(struct check *c, uint64_t number, uint64_t size, uint8_t *page)
{
    uint64_t count = (HEAD_BYTES + size + c->page_bytes - 1) / c->page_bytes;
    TRY(read_page(c, number, count, page));
    bool is_whole = (get(page + 10, 2) & PAGE_OVERFLOW) != 0 && get(page + 12, 4) >= count;
    return is_whole ? ERR_OK : damaged(c, number, "is not the long value that is looked for");
}

/* A list of free pages: their count, then their numbers. */
static enum err check_free(const struct check *c, uint64_t page, const uint8_t *list, uint64_t size)
{
    if (size < 8 || get(list, 8) > size / 8 - 1)
        return damaged(c, page, "holds a list of free pages that is cut");
    for (uint64_t i = 1; i <= get(list, 8); i++) {
        uint64_t number = get(list + 8 * i, 8);
        if (number < 2 || number > c->last_page)
            return damaged(c, page, "frees a page that is not there");
    }
    return ERR_OK;
}

static enum err check_free_overflow(struct check *c, uint64_t number, uint64_t size)
{
    uint8_t *list = mem_alloc_aligned((size_t)size, 1);
    if (list == NULL)
        return error_set(c->et, ERR_OUT_OF_MEMORY, "store: out of memory");
    enum err err = read_at(c, number * c->page_bytes + HEAD_BYTES, list, (size_t)size);
    if (err == ERR_OK)
        err = check_free(c, number, list, size);
    mem_free(list);
    return err;
}

static enum err check_tree(struct check *c, const uint8_t *tree, unsigned depth, bool is_free);

/* A node of a leaf: a value in the page, a long one outside, or the root of a named table. */
static enum err check_value(struct check *c, uint64_t number, const uint8_t *node, uint64_t room,
                            unsigned depth, bool is_free)
{
    uint64_t flags = get(node + 4, 2);
    uint64_t key = get(node + 6, 2);
    uint64_t size = get(node, 4);
    uint64_t inside = (flags & NODE_BIG) != 0 ? 8 : size;
    const uint8_t *value = node + NODE_BYTES + key;
    if (key > room || inside > room - key)
        return damaged(c, number, "holds a value that leaves it");
    if ((flags & ~(uint64_t)(NODE_BIG | NODE_TREE)) != 0)
        return damaged(c, number, "holds a value of an unknown kind");
    if ((flags & NODE_TREE) != 0)
        return size == TREE_BYTES && !is_free ? check_tree(c, value, depth + 1, false)
                                              : damaged(c, number, "names no table");
    if ((flags & NODE_BIG) == 0)
        return is_free ? check_free(c, number, value, size) : ERR_OK;
    uint64_t overflow = get(value, 8);
    TRY(check_overflow(c, overflow, size, c->buffer + (DEPTH_MAX + 1) * c->page_bytes));
    return is_free ? check_free_overflow(c, overflow, size) : ERR_OK;
}

static enum err check_page(struct check *c, uint64_t number, unsigned depth, bool is_free)
{
    if (depth > DEPTH_MAX)
        return damaged(c, number, "lies too deep");
    uint8_t *page = c->buffer + depth * c->page_bytes;
    TRY(read_page(c, number, 1, page));
    uint64_t flags = get(page + 10, 2);
    uint64_t lower = get(page + 12, 2);
    uint64_t upper = get(page + 14, 2);
    if (flags != PAGE_BRANCH && flags != PAGE_LEAF)
        return damaged(c, number, "is neither branch nor leaf");
    if (lower < HEAD_BYTES || lower % 2 != 0 || lower > upper || upper > c->page_bytes)
        return damaged(c, number, "has bounds that are none");
    uint64_t count = (lower - HEAD_BYTES) / 2;
    if (count < (flags == PAGE_BRANCH ? 2 : 1))
        return damaged(c, number, "is empty");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at = get(page + HEAD_BYTES + 2 * i, 2);
        if (at < upper || at % 2 != 0 || at > c->page_bytes - NODE_BYTES)
            return damaged(c, number, "has a node outside its bounds");
        const uint8_t *node = page + at;
        uint64_t room = c->page_bytes - at - NODE_BYTES;
        if (flags == PAGE_LEAF) {
            TRY(check_value(c, number, node, room, depth, is_free));
            continue;
        }
        if (get(node + 6, 2) > room)
            return damaged(c, number, "holds a key that leaves it");
        TRY(check_page(c, get(node, 6), depth + 1, is_free));
    }
    return ERR_OK;
}

/* `tree`: MDB_db. Its tables use neither duplicates nor fixed keys, but the list of free pages has
 * whole numbers for keys. */
static enum err check_tree(struct check *c, const uint8_t *tree, unsigned depth, bool is_free)
{
    uint64_t root = get(tree + 40, 8);
    return root == NO_PAGE ? ERR_OK : check_page(c, root, depth, is_free);
}

/* The newer of the two heads of the file into `meta`. */
static enum err read_meta(struct check *c, uint8_t meta[META_BYTES])
{
    uint8_t heads[2][HEAD_BYTES + META_BYTES];
    c->page_bytes = PAGE_BYTES_MIN;
    if (c->size_bytes < sizeof heads[0])
        return damaged(c, 0, "is cut");
    TRY(read_at(c, 0, heads[0], sizeof heads[0]));
    c->page_bytes = get(heads[0] + HEAD_BYTES + 24, 4);
    bool is_page_size = c->page_bytes >= PAGE_BYTES_MIN && c->page_bytes <= PAGE_BYTES_MAX &&
                        (c->page_bytes & (c->page_bytes - 1)) == 0;
    if (!is_page_size || c->size_bytes > FILE_SIZE_MAX)
        return damaged(c, 0, "is not the head of a store");
    if (c->size_bytes < 2 * c->page_bytes)
        return damaged(c, 1, "lies beyond the end");
    TRY(read_at(c, c->page_bytes, heads[1], sizeof heads[1]));
    for (uint64_t i = 0; i < 2; i++) {
        const uint8_t *head = heads[i];
        if (get(head + 10, 2) != PAGE_META || get(head + HEAD_BYTES, 4) != META_MAGIC ||
            get(head + HEAD_BYTES + 4, 4) != META_VERSION ||
            get(head + HEAD_BYTES + 24, 4) != c->page_bytes)
            return damaged(c, i, "is not the head of a store");
    }
    const size_t transaction = META_BYTES - 8;
    bool is_second =
        get(heads[1] + HEAD_BYTES + transaction, 8) > get(heads[0] + HEAD_BYTES + transaction, 8);
    memcpy(meta, heads[is_second ? 1 : 0] + HEAD_BYTES, META_BYTES);
    return ERR_OK;
}

static enum err check_file(struct check *c)
{
    uint8_t meta[META_BYTES];
    TRY(read_meta(c, meta));
    c->last_page = get(meta + META_BYTES - 16, 8);
    if (c->last_page > FILE_SIZE_MAX / c->page_bytes)
        return damaged(c, 0, "promises more pages than can be");
    c->seen = 2;
    c->buffer = mem_alloc_aligned((DEPTH_MAX + 2) * (size_t)c->page_bytes, 1);
    if (c->buffer == NULL)
        return error_set(c->et, ERR_OUT_OF_MEMORY, "store: out of memory");
    enum err err = check_tree(c, meta + 24, 0, true);
    if (err == ERR_OK)
        err = check_tree(c, meta + 24 + TREE_BYTES, 0, false);
    mem_free(c->buffer);
    return err;
}

enum err store_check_file(const char *path, struct err_text *et)
{
    struct check c = {.path = path, .et = et};
    struct stat st;
    c.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (c.fd < 0)
        return errno == ENOENT
                   ? ERR_OK
                   : error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    enum err err = ERR_OK;
    if (fstat(c.fd, &st) != 0)
        err = error_set(et, error_from_errno(errno), "%s: %s", path, strerror(errno));
    c.size_bytes = err == ERR_OK ? (uint64_t)st.st_size : 0;
    if (c.size_bytes > 0)
        err = check_file(&c);
    (void)close(c.fd);
    return err;
}
