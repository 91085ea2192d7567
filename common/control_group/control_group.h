/* control_group.h - what the kernel allows this process of memory, and how often it killed for it:
 * the files of its control group, of either version, and of the groups around it.
 *
 * libuv tells a limit only since 1.45, and before that of one version.
 */
#ifndef COMMON_CONTROL_GROUP_CONTROL_GROUP_H
#define COMMON_CONTROL_GROUP_CONTROL_GROUP_H

#include <stdint.h>

/* Where the kernel has them; tests have their own. */
struct control_group_files {
    const char *list; /* "/proc/self/cgroup" */
    const char *root; /* "/sys/fs/cgroup" */
};
extern const struct control_group_files control_group_files;

/* The least limit of the group and those around it; UINT64_MAX without one. */
uint64_t control_group_memory_max(const struct control_group_files *files);

/* Processes of the group that the kernel killed for memory so far; 0 where nothing counts them. */
uint64_t control_group_oom_kills(const struct control_group_files *files);

/* The number behind `name` in "name value" lines; 0 without one. */
uint64_t control_group_count_of(const char *text, const char *name);

#endif
