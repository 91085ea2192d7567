/* cache_tree.h - removing a folder with all below it. Internal to cache. */
#ifndef WORKER_CACHE_CACHE_TREE_H
#define WORKER_CACHE_CACHE_TREE_H

/* Links are removed, not followed. What cannot be removed stays. */
void cache_tree_remove(const char *path);

#endif
