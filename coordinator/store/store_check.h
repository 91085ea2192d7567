/* store_check.h - LMDB's file looked through before it is mapped.
 *
 * LMDB trusts its pages: one that lies beyond the end of a cut file is a SIGBUS, one of garbage an
 * access anywhere. So every page that its two trees reach is read with pread(2) first, and checked:
 * inside the file, with its own number, its nodes inside the page, no page reached twice as often
 * as there are pages. What records say is checked later, by their hash chain.
 *
 * Layout: LMDB 0.9 (mdb.c: MDB_page, MDB_node, MDB_meta, MDB_db), 64-bit, native byte order.
 */
#ifndef COORDINATOR_STORE_STORE_CHECK_H
#define COORDINATOR_STORE_STORE_CHECK_H

#include "common/base/error.h"

/* The data file of a store. A missing or empty one is sound: it is made anew. ERR_STORE with the
 * page and what is wrong with it; ERR_IO, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err store_check_file(const char *path, struct err_text *et);

#endif
