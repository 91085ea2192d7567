/* cmd.h - the functions behind the rows of the table of verbs; cmd_<verb> is in cmd_<verb>.c, verbs
 * that belong together share a file. Each is a command_run_f. */
#ifndef CLI_COMMAND_CMD_H
#define CLI_COMMAND_CMD_H

#include "cli/command/command.h"

enum err cmd_run(struct invocation *invocation, struct err_text *et);
enum err cmd_submit(struct invocation *invocation, struct err_text *et);
enum err cmd_jobs(struct invocation *invocation, struct err_text *et);
enum err cmd_show(struct invocation *invocation, struct err_text *et);
enum err cmd_graph(struct invocation *invocation, struct err_text *et);
enum err cmd_explain(struct invocation *invocation, struct err_text *et);
enum err cmd_watch(struct invocation *invocation, struct err_text *et);
enum err cmd_logs(struct invocation *invocation, struct err_text *et);
enum err cmd_wait(struct invocation *invocation, struct err_text *et);
enum err cmd_control_cancel(struct invocation *invocation, struct err_text *et);
enum err cmd_control_pause(struct invocation *invocation, struct err_text *et);
enum err cmd_control_resume(struct invocation *invocation, struct err_text *et);
enum err cmd_control_retry(struct invocation *invocation, struct err_text *et);
enum err cmd_control_forget(struct invocation *invocation, struct err_text *et);
enum err cmd_workers(struct invocation *invocation, struct err_text *et);
enum err cmd_workers_drain(struct invocation *invocation, struct err_text *et);
enum err cmd_workers_providers(struct invocation *invocation, struct err_text *et);
enum err cmd_workers_scale(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_log(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_show(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_forget(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_prune(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_tag(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_restore(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_fork(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_diff(struct invocation *invocation, struct err_text *et);
enum err cmd_ckpt_verify(struct invocation *invocation, struct err_text *et);
enum err cmd_stats(struct invocation *invocation, struct err_text *et);
enum err cmd_top(struct invocation *invocation, struct err_text *et);
enum err cmd_metrics(struct invocation *invocation, struct err_text *et);
enum err cmd_plot(struct invocation *invocation, struct err_text *et);
enum err cmd_pull(struct invocation *invocation, struct err_text *et);
enum err cmd_export(struct invocation *invocation, struct err_text *et);
enum err cmd_data_check(struct invocation *invocation, struct err_text *et);
enum err cmd_inspect(struct invocation *invocation, struct err_text *et);
enum err cmd_convert(struct invocation *invocation, struct err_text *et);
enum err cmd_imatrix_merge(struct invocation *invocation, struct err_text *et);
enum err cmd_doctor(struct invocation *invocation, struct err_text *et);
enum err cmd_generate(struct invocation *invocation, struct err_text *et);
enum err cmd_chat(struct invocation *invocation, struct err_text *et);
enum err cmd_model_create(struct invocation *invocation, struct err_text *et);
enum err cmd_completion(struct invocation *invocation, struct err_text *et);
enum err cmd_init(struct invocation *invocation, struct err_text *et);
enum err cmd_keys_create(struct invocation *invocation, struct err_text *et);
enum err cmd_control_stop(struct invocation *invocation, struct err_text *et);

#endif
