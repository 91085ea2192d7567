/* commands.h - the table of verbs, and the functions behind its rows. */
#ifndef CLI_COMMAND_COMMANDS_H
#define CLI_COMMAND_COMMANDS_H

#include "cli/command/command.h"

/* The verb of one or two words, NULL when there is none; *used is the number of words it took.
 * `second` may be NULL. */
const struct command *commands_find(const char *first, const char *second, int *used);

/* ERR_USAGE: names the nearest verb. */
enum err commands_fail(const char *first, const char *second, struct err_text *et);

/* Row by row; NULL beyond the last. */
const struct command *commands_at(size_t index);

/* Prints the help of one verb, or (NULL) the list of all. */
void commands_print_help(const struct command *command, FILE *out);

enum err cmd_run(struct invocation *invocation, struct err_text *et);
enum err cmd_submit(struct invocation *invocation, struct err_text *et);
enum err cmd_jobs(struct invocation *invocation, struct err_text *et);
enum err cmd_show(struct invocation *invocation, struct err_text *et);
enum err cmd_graph(struct invocation *invocation, struct err_text *et);
enum err cmd_watch(struct invocation *invocation, struct err_text *et);
enum err cmd_logs(struct invocation *invocation, struct err_text *et);
enum err cmd_wait(struct invocation *invocation, struct err_text *et);
enum err cmd_control_cancel(struct invocation *invocation, struct err_text *et);
enum err cmd_control_pause(struct invocation *invocation, struct err_text *et);
enum err cmd_control_resume(struct invocation *invocation, struct err_text *et);
enum err cmd_control_retry(struct invocation *invocation, struct err_text *et);
enum err cmd_workers(struct invocation *invocation, struct err_text *et);
enum err cmd_workers_drain(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_log(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_show(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_verify(struct invocation *invocation, struct err_text *et);
enum err cmd_pull(struct invocation *invocation, struct err_text *et);
enum err cmd_data_check(struct invocation *invocation, struct err_text *et);
enum err cmd_doctor(struct invocation *invocation, struct err_text *et);
enum err cmd_generate(struct invocation *invocation, struct err_text *et);
enum err cmd_chat(struct invocation *invocation, struct err_text *et);
enum err cmd_model_create(struct invocation *invocation, struct err_text *et);
enum err cmd_stop(struct invocation *invocation, struct err_text *et);
enum err cmd_help(struct invocation *invocation, struct err_text *et);

#endif
