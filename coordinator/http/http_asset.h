/* http_asset.h - the files of the page, as bytes in the program; coordinator/http/page holds them.
 * There is nothing in them that only some may see.
 */
#ifndef COORDINATOR_HTTP_HTTP_ASSET_H
#define COORDINATOR_HTTP_HTTP_ASSET_H

#include <stddef.h>
#include <stdint.h>

struct http_asset {
    const char *path; /* "/", "/page.css" */
    const char *type;
    const uint8_t *data;
    size_t size;
};

extern const struct http_asset http_assets[];
extern const size_t http_asset_count;

#endif
