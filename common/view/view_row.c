/* view_row.c - see view_row.h. */
#include "common/view/view_row.h"

#include <string.h>

#include "common/base/check.h"
#include "common/message/state.h"

static const struct {
    const char *type; /* NULL: any */
    const char *field;
    enum view_kind view;
} rows[] = {
    {"job_row", "state", VIEW_JOB_STATE},
    {"stage_row", "state", VIEW_STAGE_STATE},
    {"variant_row", "state", VIEW_STAGE_STATE},
    {"worker_row", "state", VIEW_WORKER_STATE},
    {"stage_row", "kind", VIEW_KIND},
    {"explain_row", "reason", VIEW_REASON},
    {NULL, "error", VIEW_ERROR},
    {NULL, "job", VIEW_ID},
    {NULL, "worker", VIEW_ID},
};

enum view_kind view_row_kind(const struct message_type *type, const struct message_field *field)
{
    bool is_number = field->kind == MESSAGE_U32 || field->kind == MESSAGE_U64;
    for (size_t i = 0; i < COUNT_OF(rows) && is_number; i++) {
        bool is_type = rows[i].type == NULL || strcmp(rows[i].type, type->name) == 0;
        if (is_type && strcmp(rows[i].field, field->name) == 0)
            return rows[i].view;
    }
    return VIEW_NUMBER;
}

const char *view_row_word(enum view_kind view, uint32_t value)
{
    switch (view) {
    case VIEW_JOB_STATE:
        return state_job_word((enum job_state)value);
    case VIEW_STAGE_STATE:
        return state_stage_word((enum stage_state)value);
    case VIEW_WORKER_STATE:
        return state_worker_word((enum worker_state)value);
    case VIEW_KIND:
        return state_kind_word((enum stage_kind)value);
    case VIEW_REASON:
        return state_reason_word((enum reason)value);
    case VIEW_ERROR:
        return value == 0 ? "" : error_name((enum err)value);
    case VIEW_NUMBER:
    case VIEW_ID:
        break;
    }
    return "";
}

uint32_t view_row_count(enum view_kind view)
{
    switch (view) {
    case VIEW_JOB_STATE:
        return JOB_STATE_COUNT;
    case VIEW_STAGE_STATE:
        return STAGE_STATE_COUNT;
    case VIEW_WORKER_STATE:
        return WORKER_STATE_COUNT;
    case VIEW_KIND:
        return STAGE_KIND_COUNT;
    case VIEW_REASON:
        return REASON_COUNT;
    case VIEW_ERROR:
        return ERR_COUNT;
    case VIEW_NUMBER:
    case VIEW_ID:
        break;
    }
    return 0;
}

bool view_row_is_hidden(const struct message_field *field)
{
    return strcmp(field->name, "ticket") == 0;
}
