/* main.c - qctl: reads the environment, finds the verb, runs it, exits with its code. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command/command.h"
#include "cli/command/commands.h"
#include "cli/command/follow.h"
#include "common/base/version.h"
#include "common/numeric/float_rules.h"
#include "common/transport/supervisor.h"
#include "common/transport/transport.h"

static const char *locale_of(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0')
            return value;
    }
    return NULL;
}

static const char *user_of(void)
{
    const char *user = getenv("USER");
    const struct passwd *entry = user == NULL ? getpwuid(geteuid()) : NULL;
    return entry != NULL ? entry->pw_name : user;
}

static struct environment read_environment(void)
{
    return (struct environment){
        .coordinator = getenv("QFLEET_COORDINATOR"),
        .isa = getenv("QFLEET_ISA"),
        .no_color = getenv("NO_COLOR"),
        .term = getenv("TERM"),
        .locale = locale_of(),
        .temporary = getenv("TMPDIR"),
        .user = user_of(),
        .config = {.file = getenv("QFLEET_CONFIG"),
                   .config_home = getenv("XDG_CONFIG_HOME"),
                   .home = getenv("HOME")},
    };
}

int main(int argc, char **argv)
{
    struct environment environment;
    struct invocation invocation;
    struct err_text et = {{0}};
    supervisor_keep_streams();
    environment = read_environment();
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return printf("qctl %s\n", version_text()) < 0 || fflush(stdout) != 0;
    float_rules_set(); /* `generate` computes here */
    enum err err = transport_startup();
    if (err == ERR_OK)
        err = command_parse(argc, argv, &environment, &invocation, &et);
    else
        invocation = (struct invocation){.out = stdout, .messages = stderr, .exit_code = -1};
    if (err == ERR_OK && command_flag(&invocation, "help"))
        commands_print_help(invocation.command, invocation.out);
    else if (err == ERR_OK)
        err = invocation.command->run(&invocation, &et);
    int number = err == ERR_UNREACHABLE ? follow_pause(0) : 0;
    if (number != 0 && invocation.exit_code < 0) /* it came while nobody answered */
        invocation.exit_code = FOLLOW_SIGNAL_BASE + number;
    if (err == ERR_OK)
        err = command_flush(&invocation);
    /* A reader that left has what it wanted; a full disk does not have all of it. */
    if (invocation.output_errno == EPIPE && err == ERR_IO)
        err = ERR_OK;
    else if (invocation.output_errno != 0 && err == ERR_IO)
        err = error_set(&et, error_from_errno(invocation.output_errno), "stdout: %s",
                        strerror(invocation.output_errno));
    if (err != ERR_OK)
        command_print_error(&invocation, err, &et);
    transport_shutdown();
    return invocation.exit_code >= 0 ? invocation.exit_code : error_exit_code(err);
}
