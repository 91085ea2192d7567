/* cmd_watch.c - `qctl watch`, `wait` and `logs`: a job as it goes on. Ctrl-C leaves, the job stays.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/client/client.h"
#include "cli/client/exchange.h"
#include "cli/command/cmd.h"
#include "cli/command/follow.h"
#include "cli/command/rewards.h"
#include "cli/plot/log_filter.h"
#include "cli/plot/pace.h"
#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/recipe/recipe_value.h"
#include "common/view/json_view.h"

enum { POLL_MS = 500 };

static const char *job_argument(const struct invocation *invocation)
{
    return invocation->argument_count > 0 ? invocation->arguments[0] : "last";
}

/* What is printed of a job as it goes on. */
struct watch {
    struct invocation *invocation;
    struct follow follow;
    bool with_points; /* else progress alone */
    bool with_all;    /* every point */
    size_t seen;      /* points that were printed or passed over */
    struct log_filter filter;
};

static enum err print_json(struct invocation *invocation, const struct message_type *type,
                           const void *row)
{
    struct json_write w;
    json_write_init(&w, JSON_WRITE_LINE, 1 << 16);
    json_view_object(&w, NULL, type, row);
    return command_print_json(invocation, &w);
}

/* With the pace as it was at this point. */
static enum err print_point(const struct watch *watch, size_t index)
{
    const struct follow *follow = &watch->follow;
    const struct log_point *point = &follow->points[index];
    FILE *out = watch->invocation->out;
    char rewards[REWARDS_BYTES], text[HUMAN_BYTES];
    (void)rewards_print(point, rewards);
    if (point->variant < follow->variant_count)
        (void)fprintf(out, "%s  ", follow->variants[point->variant].name);
    (void)fprintf(out, "step %6" PRIu64 "  epoch %6.3f  ", point->step, point->epoch);
    if (point->is_eval) {
        (void)fprintf(out, "eval_loss %.4f", point->loss);
    } else {
        struct pace pace = pace_of(follow->points, index + 1, follow->steps_total);
        (void)fprintf(out, "loss %.4f  grad_norm %.3f  lr %.3e", point->loss, point->grad_norm,
                      point->learning_rate);
        if (pace.tokens_per_s > 0)
            (void)fprintf(out, "  %s tok/s", human_count((uint64_t)pace.tokens_per_s, text));
        if (pace.seconds_left >= 0)
            (void)fprintf(out, "  %s left", human_duration(pace.seconds_left, text));
    }
    (void)fprintf(out, "%s%s\n", rewards[0] != '\0' ? "  rewards " : "", rewards);
    return command_flush(watch->invocation);
}

/* On a terminal the live line has the training; evaluations stand above it. In a log lines come as
 * log_filter.h says. */
static bool is_printed(struct watch *watch, const struct log_point *point)
{
    bool is_live = watch->invocation->style.terminal && watch->invocation->message_style.terminal;
    if (watch->with_all || watch->invocation->json)
        return true;
    if (is_live && !point->is_eval)
        return false;
    return log_filter_takes(&watch->filter, point, watch->follow.steps_total);
}

static enum err print_points(struct watch *watch)
{
    for (; watch->with_points && watch->seen < watch->follow.point_count; watch->seen++) {
        const struct log_point *point = &watch->follow.points[watch->seen];
        if (!is_printed(watch, point))
            continue;
        progress_end(&watch->follow.progress);
        TRY(watch->invocation->json ? print_json(watch->invocation, &message_type_log_point, point)
                                    : print_point(watch, watch->seen));
    }
    return ERR_OK;
}

/* Until the job ends, the time is up, or a signal comes. */
static enum err follow_until(struct watch *watch, uint64_t deadline_ms, struct err_text *et)
{
    struct follow *follow = &watch->follow;
    for (;;) {
        enum err err = follow_step(follow, et);
        if (err != ERR_OK && err != ERR_UNREACHABLE)
            return err;
        TRY(print_points(watch));
        if (follow_is_done(follow)) {
            progress_end(&follow->progress);
            return follow_result(follow, et);
        }
        if (err == ERR_OK && exchange_now_ms() >= deadline_ms)
            return error_set(et, ERR_TIMEOUT, "job %s is not done yet", follow->name);
        int number = follow_pause(err == ERR_OK ? POLL_MS : 0);
        if (number != 0) {
            progress_say(&follow->progress, "detached; the job goes on");
            watch->invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
            return ERR_OK;
        }
        TRY(err);
    }
}

static enum err run_follow(struct invocation *invocation, uint64_t wait_ms, bool with_points,
                           struct err_text *et)
{
    struct client *client = NULL;
    struct watch watch = {.invocation = invocation,
                          .with_points = with_points,
                          .with_all = with_points && command_flag(invocation, "points")};
    uint64_t job = 0;
    TRY(command_connect(invocation, &client, et));
    enum err err = follow_find(client, job_argument(invocation), &job, et);
    if (err == ERR_OK) {
        uint64_t now_ms = exchange_now_ms();
        follow_block_signals();
        follow_init(&watch.follow, client, job, invocation);
        watch.follow.shows_points = with_points;
        err = follow_until(&watch, wait_ms > 0 ? now_ms + wait_ms : UINT64_MAX, et);
        follow_fini(&watch.follow);
    }
    client_close(&client);
    return err;
}

enum err cmd_watch(struct invocation *invocation, struct err_text *et)
{
    return run_follow(invocation, 0, true, et);
}

enum err cmd_wait(struct invocation *invocation, struct err_text *et)
{
    const char *text = command_text(invocation, "for");
    uint64_t wait_ms = 0;
    if (text != NULL && (!recipe_value_duration(text_of(text), &wait_ms) || wait_ms == 0))
        return error_set(et, ERR_USAGE, "--for: expected a time such as 10m, found \"%s\"", text);
    return run_follow(invocation, wait_ms, false, et);
}

static enum err print_event(struct invocation *invocation, const struct event_row *row)
{
    char time[HUMAN_BYTES], id[HUMAN_BYTES];
    if (invocation->json)
        return print_json(invocation, &message_type_event_row, row);
    char text[LIMIT_TEXT_BYTES + 1];
    (void)snprintf(text, sizeof text, "%.*s", TEXT_ARGS(row->text));
    (void)fprintf(invocation->out, "%s  %s  %s\n", human_time(row->unix_ms, time),
                  row->job != 0 ? human_id(row->job, id) : "-------", style_clean(text));
    return command_flush(invocation);
}

/* Prints what is new after `after`; *after moves on. */
static enum err print_events(struct invocation *invocation, struct client *client, uint64_t *after,
                             struct err_text *et)
{
    for (bool is_more = true; is_more;) {
        struct msg_events_get get = {
            .prefix = text_of(invocation->argument_count > 0 ? invocation->arguments[0] : ""),
            .after = *after,
        };
        const union message_any *reply = NULL;
        TRY(client_request(client, &message_type_msg_events_get, &get, &message_type_msg_events,
                           &reply, et));
        for (uint32_t i = 0; i < reply->events.events_count; i++)
            TRY(print_event(invocation, &reply->events.events[i]));
        is_more = reply->events.next > *after && reply->events.next < reply->events.last;
        *after = MAX(*after, reply->events.next);
    }
    return ERR_OK;
}

enum err cmd_logs(struct invocation *invocation, struct err_text *et)
{
    struct client *client = NULL;
    uint64_t after = 0;
    bool goes_on = command_flag(invocation, "follow");
    int number = 0;
    TRY(command_connect(invocation, &client, et));
    if (goes_on)
        follow_block_signals();
    enum err err;
    do {
        err = print_events(invocation, client, &after, et);
        number = goes_on ? follow_pause(err == ERR_OK ? POLL_MS : 0) : 0;
    } while (err == ERR_OK && goes_on && number == 0);
    if (number != 0)
        invocation->exit_code = FOLLOW_SIGNAL_BASE + number;
    client_close(&client);
    return err;
}
