/* limits.h - the bounds of limits.def as constants LIMIT_<name>. */
#ifndef COMMON_BASE_LIMITS_H
#define COMMON_BASE_LIMITS_H

#include "schemas/limits.def"

enum limit {
#define LIMIT_ENUM(name, value, unit, reason) LIMIT_##name = (value),
    LIMIT_ROWS(LIMIT_ENUM)
#undef LIMIT_ENUM
};

#endif
