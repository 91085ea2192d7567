/* export_folder.h - whether a folder may take an export: nothing of anybody's is written over. */
#ifndef CLI_COMMAND_EXPORT_FOLDER_H
#define CLI_COMMAND_EXPORT_FOLDER_H

#include "common/base/error.h"
#include "common/message/message.h"

/* Reads only. ERR_EXISTS with the names when something lies where a file of the export would,
 * unless README.md there is the card of this job: that was an earlier export, which is replaced. A
 * file that holds what it would be given is in nobody's way: an export that broke off goes on.
 * `under` as in struct results_part. ERR_DENIED, ERR_OUT_OF_MEMORY. */
MUST_CHECK enum err export_folder_check(const struct msg_job *job, struct text under,
                                        const char *folder, struct err_text *et);

/* Of an export that failed into a folder that was not there before: its files, and folders that
 * nothing else is in. */
void export_folder_take_back(const struct msg_job *job, struct text under, const char *folder);

#endif
