/* cmd_doctor.c - `qctl doctor`: what of this machine would get in the way, before it does. */
#include <stdarg.h>
#include <stdio.h>

#include "cli/command/cmd.h"
#include "cli/command/doctor.h"
#include "cli/command/doctor_fleet.h"
#include "cli/command/doctor_machine.h"
#include "common/base/version.h"
#include "common/formats/tokenizer/tokenizer.h"
#include "common/message/message.h"

void doctor_tell(struct doctor *doctor, enum doctor_verdict verdict, const char *what,
                 const char *format, ...)
{
    static const char *const words[] = {"ok", "note", "FAIL"};
    static const enum style_color colors[] = {STYLE_GOOD, STYLE_BUSY, STYLE_BAD};
    const struct style *style = &doctor->invocation->style;
    char found[DOCTOR_LINE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(found, sizeof found, format, args);
    va_end(args);
    (void)style_clean(found); /* a path may hold anything */
    doctor->bad += verdict == DOCTOR_BAD;
    if (!doctor->invocation->json) {
        (void)fprintf(doctor->invocation->out, "%s%-4s%s  %-13s %s\n",
                      style_on(style, colors[verdict]), words[verdict],
                      style_off(style, colors[verdict]), what, found);
        return;
    }
    json_write_object_begin(&doctor->w, NULL);
    json_write_text(&doctor->w, "check", text_of(what));
    json_write_text(&doctor->w, "found", text_of(found));
    json_write_text(&doctor->w, "verdict", text_of(words[verdict]));
    json_write_object_end(&doctor->w);
}

enum err cmd_doctor(struct invocation *invocation, struct err_text *et)
{
    char unicode[DOCTOR_LINE_BYTES];
    struct doctor doctor = {.invocation = invocation};
    json_write_init(&doctor.w, JSON_WRITE_PRETTY, 1 << 20);
    json_write_array_begin(&doctor.w, NULL);
    tokenizer_unicode_version(unicode, sizeof unicode);
    doctor_tell(&doctor, DOCTOR_OK, "versions", "qfleet %s, protocol %d, %s", version_text(),
                MESSAGE_PROTOCOL, unicode);
    doctor_machine_examine(&doctor);
    doctor_fleet_examine(&doctor);
    json_write_array_end(&doctor.w);
    enum err err = ERR_OK;
    if (invocation->json)
        err = command_print_json(invocation, &doctor.w);
    else
        json_write_fini(&doctor.w);
    if (err == ERR_OK)
        invocation->json = false; /* the one value was printed; the rest is words */
    if (err == ERR_OK && doctor.bad > 0)
        return error_set(et, ERR_STATE, "%u of these would get in the way", doctor.bad);
    return err;
}
