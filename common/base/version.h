/* version.h - which qfleet this is. */
#ifndef COMMON_BASE_VERSION_H
#define COMMON_BASE_VERSION_H

/* "0.1.0", as the top CMakeLists.txt says. Static. */
const char *version_text(void);

#endif
