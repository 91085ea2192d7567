/* human.h - quantities as people read them, in few characters. */
#ifndef CLI_RENDER_HUMAN_H
#define CLI_RENDER_HUMAN_H

#include <stdint.h>

enum { HUMAN_BYTES = 32 };

/* 0.4s, 12s, 3m10s, 2h05m, 4d03h; "-" for a negative or not finite value. Returns `out`. */
const char *human_duration(double seconds, char out[HUMAN_BYTES]);

/* 512, 86K, 1.4M, 23G: powers of 1024. */
const char *human_size(uint64_t bytes, char out[HUMAN_BYTES]);

/* 48 120: groups of three, so that large counts can be read. */
const char *human_count(uint64_t count, char out[HUMAN_BYTES]);

/* Four significant digits: 3.754, 0.0001234, 1.234e+06; "-" when not finite. */
const char *human_number(double value, char out[HUMAN_BYTES]);

/* 2026-11-21T20:39:50Z; "-" for 0. */
const char *human_time(uint64_t unix_ms, char out[HUMAN_BYTES]);

/* First 7 characters of a 64-bit id in hexadecimal. */
const char *human_id(uint64_t id, char out[HUMAN_BYTES]);

#endif
