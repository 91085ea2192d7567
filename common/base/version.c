/* version.c - the one file that is compiled with the version. */
#include "common/base/version.h"

const char *version_text(void)
{
    return QFLEET_VERSION;
}
