/* command.h - what a verb of qctl is, and what one call of it was given.
 *
 * Verbs are rows of one table (commands.c), from which come parsing, help and completion. A row
 * parses nothing itself: options arrive checked for their names, values are asked for by name.
 */
#ifndef CLI_COMMAND_COMMAND_H
#define CLI_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/client/client_config.h"
#include "cli/render/style.h"
#include "common/base/error.h"
#include "common/formats/json/json_write.h"

struct client;
struct invocation;

/* --name, with a value when `argument` is not NULL. */
struct command_option {
    const char *name;
    const char *argument;
    const char *help;
};

/* Runs the verb. Data goes to invocation->out, everything else to invocation->messages. */
typedef enum err (*command_run_f)(struct invocation *invocation, struct err_text *et);

struct command {
    const char *name;    /* "ckpt log": up to two words */
    const char *usage;   /* arguments: "RECIPE [--workers N]" */
    const char *summary; /* one line */
    const char *examples;
    const struct command_option *options; /* own ones; may be NULL */
    size_t option_count;
    size_t arguments_min, arguments_max;
    command_run_f run;
};

enum { COMMAND_VALUES_MAX = 128, COMMAND_ARGUMENTS_MAX = 64 };

struct command_value {
    const struct command_option *option;
    const char *value; /* NULL for a flag */
};

/* What `-o` asks for. */
enum command_format {
    COMMAND_TABLE,
    COMMAND_JSON,
    COMMAND_JSONL,
    COMMAND_NAME,
    COMMAND_DOT,
    COMMAND_MERMAID
};

/* What the process was started with, read once by main. Any may be NULL. */
struct environment {
    const char *coordinator; /* QFLEET_COORDINATOR */
    const char *isa;         /* QFLEET_ISA */
    const char *no_color;
    const char *term;
    const char *locale;
    const char *temporary; /* TMPDIR */
    const char *user;
    struct client_config_places config;
};

struct invocation {
    const struct command *command;
    const struct environment *environment;
    const char *arguments[COMMAND_ARGUMENTS_MAX];
    size_t argument_count;
    struct command_value values[COMMAND_VALUES_MAX];
    size_t value_count;
    FILE *out;
    FILE *messages;
    struct style style;         /* of out */
    struct style message_style; /* of messages */
    enum command_format format;
    bool json; /* COMMAND_JSON or COMMAND_JSONL */
    bool header;
    int output_errno; /* of the first line that could not be written to `out`, 0: none */
    int exit_code;    /* set by a verb to stand above that of its error; -1 otherwise */
};

/* Options that every verb takes, and their number. */
const struct command_option *command_global_options(size_t *count);

/* Parses the words after the program's name and fills *invocation. ERR_USAGE with the nearest verb
 * or option. */
MUST_CHECK enum err command_parse(int argc, char **argv, const struct environment *environment,
                                  struct invocation *invocation, struct err_text *et);

/* Value of an option, NULL when it was not given. The last one stands. */
const char *command_text(const struct invocation *invocation, const char *name);

bool command_flag(const struct invocation *invocation, const char *name);

/* All values of an option that may be repeated; at most `max` are written. Returns how many. */
size_t command_texts(const struct invocation *invocation, const char *name, const char **out,
                     size_t max);

/* A number in [min, max]; *out keeps its value when the option was not given. ERR_USAGE. */
MUST_CHECK enum err command_u64(const struct invocation *invocation, const char *name, uint64_t min,
                                uint64_t max, uint64_t *out, struct err_text *et);
MUST_CHECK enum err command_f64(const struct invocation *invocation, const char *name, double min,
                                double max, double *out, struct err_text *et);

/* Which coordinator is meant, and with which keys: --coordinator, QFLEET_COORDINATOR, then the
 * configuration file, whose keys go with its own coordinator only. --secret and --server-key stand
 * above them. Texts live in `arena`; *out names no coordinator when nothing does. Errors as
 * client_config_read. */
MUST_CHECK enum err command_coordinator(const struct invocation *invocation, struct arena *arena,
                                        struct client_config *out, struct err_text *et);

/* --timeout, or how long an answer is waited for without it. ERR_USAGE. */
MUST_CHECK enum err command_timeout(const struct invocation *invocation, uint32_t *wait_ms,
                                    struct err_text *et);

/* Opens the client of command_coordinator. ERR_USAGE when nothing names one. */
MUST_CHECK enum err command_connect(const struct invocation *invocation, struct client **client,
                                    struct err_text *et);

/* Hands on what was printed to `out`. ERR_IO when it has not all been written: main says why. What
 * goes on for long asks after each piece, and ends. */
MUST_CHECK enum err command_flush(struct invocation *invocation);

/* Prints a finished JSON value with a line feed and ends the writer. */
MUST_CHECK enum err command_print_json(struct invocation *invocation, struct json_write *w);

/* An error as the one JSON value of `-o json`, or as "qctl: text" on messages. */
void command_print_error(const struct invocation *invocation, enum err code,
                         const struct err_text *et);

#endif
