/* container.h - from a node inside an object back to the object, typed.
 *
 * The containers of this folder are intrusive: the node is a member of what is contained, so that
 * putting something into a list, heap or map allocates nothing and cannot fail.
 */
#ifndef COMMON_DS_CONTAINER_H
#define COMMON_DS_CONTAINER_H

#include <stddef.h>

/* The `type` whose `member` is `*node`. */
#define CONTAINER_OF(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
