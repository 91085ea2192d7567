/* worker_flags.c - a table of flags, one value each. */
#include "worker/loop/worker_flags.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "worker/agent/agent.h"

enum { TIME_LIMIT_S_MAX = 1000000000 };

const char *worker_flags_usage(void)
{
    return "usage: qfleet-worker --coordinator EP [options]\n"
           "\n"
           "  --coordinator EP   control endpoint: ipc://PATH or tcp://HOST:PORT\n"
           "  --name N           durable name (default: provider and place, or the machine's)\n"
           "  --threads N        compute threads (default: the processors)\n"
           "  --memory SIZE      memory it may use, such as 12GiB (default: the machine's)\n"
           "  --cache DIR        artifacts kept between jobs (default: a folder in $TMPDIR or /tmp "
           "that\n"
           "                     goes with the process)\n"
           "  --cache-size SIZE  room in it (default 64GiB)\n"
           "  --isa ROW          kernels: best, avx512, avx2 or portable (default: $QFLEET_ISA or "
           "best)\n"
           "  --secret FILE      TCP: own key file\n"
           "  --server-key FILE  TCP: the coordinator's public key\n"
           "  --parent-fd N      leaves when descriptor N reads end of file\n"
           "  --orphan SECONDS   leaves after so long without a coordinator (default 60, 0 never)\n"
           "  --provider NAME    the provider that started it\n"
           "  --allocation ID    its place there (default: $SLURM_JOB_ID)\n"
           "  --time-limit SECONDS  it will be ended then, so it leaves before (default: until\n"
           "                     $SLURM_JOB_END_TIME; 0 never)\n"
           "\n"
           "SIGTERM finishes the running task and leaves, a second one leaves at once.\n";
}

/* A number, in bytes with a unit where `with_unit`. */
static enum err read_number(const char *name, const char *value, bool with_unit, uint64_t *out,
                            struct err_text *et)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned long long number = strtoull(value, &end, 10);
    unsigned shift = 0;
    const char *unit = with_unit && *end != '\0' ? strchr(units, *end) : NULL;
    if (unit != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (*end == 'i')
            end++;
    }
    if (with_unit && *end == 'B')
        end++;
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || number > UINT64_MAX >> 8 >> shift)
        return error_set(et, ERR_USAGE, "%s: a %s expected, found \"%s\"", name,
                         with_unit ? "size such as 512MiB" : "whole number", value);
    *out = (uint64_t)number << shift;
    return ERR_OK;
}

static enum err read_flag(struct worker_flags *f, const char *name, const char *value,
                          struct err_text *et)
{
    const struct {
        const char *name;
        const char **text;
        uint64_t *number;
        bool with_unit;
    } rows[] = {
        {"--coordinator", &f->options.coordinator, NULL, false},
        {"--name", &f->options.name, NULL, false},
        {"--threads", NULL, &f->threads, false},
        {"--memory", NULL, &f->options.memory_bytes, true},
        {"--cache", &f->options.cache_folder, NULL, false},
        {"--cache-size", NULL, &f->options.cache_bytes_max, true},
        {"--isa", &f->isa, NULL, false},
        {"--secret", &f->secret, NULL, false},
        {"--server-key", &f->server_key, NULL, false},
        {"--parent-fd", NULL, &f->parent_fd, false},
        {"--orphan", NULL, &f->orphan_s, false},
        {"--provider", &f->options.provider, NULL, false},
        {"--allocation", &f->options.allocation, NULL, false},
        {"--time-limit", NULL, &f->time_limit_s, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(name, rows[i].name) != 0)
            continue;
        if (value == NULL)
            return error_set(et, ERR_USAGE, "%s: its value is missing; see --help", name);
        if (rows[i].number != NULL)
            return read_number(name, value, rows[i].with_unit, rows[i].number, et);
        *rows[i].text = value;
        return ERR_OK;
    }
    return error_set(et, ERR_USAGE, "%s: unknown; see --help", name);
}

static enum err read_isa(struct worker_flags *f, struct err_text *et)
{
    static const struct {
        const char *word;
        enum kernel_isa isa;
    } words[] = {{"best", KERNEL_ISA_BEST},
                 {"avx512", KERNEL_ISA_AVX512},
                 {"avx2", KERNEL_ISA_AVX2},
                 {"portable", KERNEL_ISA_PORTABLE}};
    const char *word = f->isa;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (word == NULL || strcmp(word, words[i].word) == 0) {
            f->options.isa = words[i].isa;
            return ERR_OK;
        }
    }
    return error_set(et, ERR_USAGE, "--isa: best, avx512, avx2 or portable expected, found \"%s\"",
                     word);
}

static enum err read_flags(int argc, char **argv, struct worker_flags *f, struct err_text *et)
{
    f->options.cache_bytes_max = 64ull << 30;
    f->parent_fd = UINT64_MAX;
    f->orphan_s = 60;
    f->time_limit_s = UINT64_MAX;
    for (int i = 1; i < argc; i += 2)
        TRY(read_flag(f, argv[i], i + 1 < argc ? argv[i + 1] : NULL, et));
    if (f->options.coordinator == NULL)
        return error_set(et, ERR_USAGE, "--coordinator EP is missing; see --help");
    if (f->threads > KERNEL_THREADS_MAX)
        return error_set(et, ERR_USAGE, "--threads: at most %d", KERNEL_THREADS_MAX);
    if (f->orphan_s > 1000000 || (f->parent_fd != UINT64_MAX && f->parent_fd > 1 << 20))
        return error_set(et, ERR_USAGE, "--orphan, --parent-fd: out of range");
    TRY(read_isa(f, et));
    f->options.threads = (unsigned)f->threads;
    f->options.parent_fd = f->parent_fd == UINT64_MAX ? -1 : (int)f->parent_fd;
    f->options.orphan_ms = (uint32_t)(f->orphan_s * 1000);
    return ERR_OK;
}

static enum err read_keys(struct worker_flags *f, struct err_text *et)
{
    if (f->secret != NULL) {
        TRY(transport_keys_read(f->secret, &f->own, et));
        f->options.own = &f->own;
    }
    if (f->server_key != NULL) {
        TRY(transport_keys_read_public(f->server_key, f->server_public, et));
        f->options.server_public = f->server_public;
    }
    return ERR_OK;
}

/* Several workers of one Slurm job differ by their task of it. */
static void settle_place(struct worker_flags *f, const struct worker_surroundings *around)
{
    struct worker_loop_options *o = &f->options;
    bool has_company = around->slurm_ntasks != NULL && strcmp(around->slurm_ntasks, "1") != 0 &&
                       around->slurm_procid != NULL;
    if (o->provider == NULL)
        return;
    if (o->allocation == NULL)
        o->allocation = around->slurm_job_id;
    if (o->name != NULL || o->allocation == NULL)
        return;
    (void)snprintf(f->name, sizeof f->name, "%s-%s%s%s", o->provider, o->allocation,
                   has_company ? "-" : "", has_company ? around->slurm_procid : "");
    o->name = f->name;
}

/* The sooner of what the flag and what Slurm say. */
static enum err settle_time(struct worker_flags *f, const struct worker_surroundings *around,
                            struct err_text *et)
{
    uint64_t limit_s = f->time_limit_s == 0 ? UINT64_MAX : f->time_limit_s;
    if (around->slurm_job_end_time != NULL && f->time_limit_s != 0) {
        uint64_t end_s;
        TRY(read_number("$SLURM_JOB_END_TIME", around->slurm_job_end_time, false, &end_s, et));
        limit_s = MIN(limit_s, end_s > around->unix_s ? end_s - around->unix_s : 0);
    }
    if (limit_s == UINT64_MAX)
        return ERR_OK;
    if (limit_s < AGENT_LIFETIME_S_MIN || limit_s > TIME_LIMIT_S_MAX)
        return error_set(et, ERR_USAGE, "--time-limit: %d to %d seconds expected, found %" PRIu64,
                         AGENT_LIFETIME_S_MIN, TIME_LIMIT_S_MAX, limit_s);
    f->options.time_limit_ms = limit_s * 1000;
    return ERR_OK;
}

enum err worker_flags_read(int argc, char **argv, const struct worker_surroundings *surroundings,
                           struct worker_flags *out, struct err_text *et)
{
    *out = (struct worker_flags){.isa = surroundings->isa};
    TRY(read_flags(argc, argv, out, et));
    settle_place(out, surroundings);
    TRY(settle_time(out, surroundings, et));
    return read_keys(out, et);
}
