/* task_kind.h - one function a kind of task, each in task_<kind>.c. Internal to task.
 *
 * Reads the inputs of its kind, computes, adds outputs, facts and sums to run->result. Errors with
 * the place in `et`; whatever it opened is released.
 */
#ifndef WORKER_TASK_TASK_KIND_H
#define WORKER_TASK_TASK_KIND_H

#include "worker/task/task_run.h"

MUST_CHECK enum err task_kind_prepare(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_pack(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_init(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_reference(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_train(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_evaluate(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_export(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_compare(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_report(struct task_run *run, struct err_text *et);

MUST_CHECK enum err task_kind_calibrate(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_reduce(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_sensitivity(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_choose(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_quantize(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_assemble(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_verify(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_replay(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_merge(struct task_run *run, struct err_text *et);
MUST_CHECK enum err task_kind_measure(struct task_run *run, struct err_text *et);

#endif
