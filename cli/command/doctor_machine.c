/* doctor_machine.c - see doctor_machine.h. */
#include "cli/command/doctor_machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include "cli/render/human.h"
#include "common/base/check.h"
#include "common/control_group/control_group.h"
#include "worker/engine/kernel/gemm_blas.h"
#include "worker/engine/kernel/kernel.h"

enum {
    MEMORY_BYTES_MIN = 1 << 30,
    DISK_BYTES_MIN = 1 << 30,
    FILES_MIN = 1024,
    PORT_CONTROL = 7070,
    PORT_COUNT = 3, /* control, bulk, http */
};

static void examine_processor(struct doctor *d)
{
    char blas[DOCTOR_LINE_BYTES / 2];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct kernel *kernel = NULL;
    enum err err = kernel_create(KERNEL_PROFILE_F32, KERNEL_ISA_BEST, 1, &kernel);
    if (err != ERR_OK) {
        doctor_tell(d, DOCTOR_BAD, "processor", "%s", error_text(err));
        return;
    }
    const char *name = kernel_name(kernel);
    bool is_slow = strstr(name, "portable") != NULL;
    doctor_tell(d, is_slow ? DOCTOR_NOTE : DOCTOR_OK, "processor", "%ld cores, kernels %s%s", cores,
                name, is_slow ? ": neither AVX2 nor AVX-512, so it will be slow" : "");
    kernel_destroy(&kernel);
    gemm_blas_text(blas, sizeof blas);
    doctor_tell(d, DOCTOR_OK, "blas", "%s (profile blas)", blas);
}

static void examine_memory(struct doctor *d)
{
    char size[HUMAN_BYTES], limit[HUMAN_BYTES];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    uint64_t least = control_group_memory_max(&control_group_files);
    enum doctor_verdict verdict = MIN(bytes, least) < MEMORY_BYTES_MIN ? DOCTOR_BAD : DOCTOR_OK;
    if (least < bytes)
        doctor_tell(d, verdict, "memory", "%s, of which the control group allows %s",
                    human_size(bytes, size), human_size(least, limit));
    else
        doctor_tell(d, verdict, "memory", "%s", human_size(bytes, size));
}

static void examine_limits(struct doctor *d)
{
    struct rlimit files, space;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_AS, &space) != 0)
        return;
    if (space.rlim_cur != RLIM_INFINITY)
        doctor_tell(d, DOCTOR_BAD, "limits",
                    "address space limited to %" PRIu64 " MiB: models and records are mapped; "
                    "ulimit -v unlimited",
                    (uint64_t)space.rlim_cur >> 20);
    if (files.rlim_cur < FILES_MIN)
        doctor_tell(d, DOCTOR_NOTE, "limits",
                    "%" PRIu64 " open files: a coordinator needs one or two a peer; ulimit -n %d",
                    (uint64_t)files.rlim_cur, FILES_MIN);
    else if (space.rlim_cur == RLIM_INFINITY)
        doctor_tell(d, DOCTOR_OK, "limits", "%" PRIu64 " open files, address space unlimited",
                    (uint64_t)files.rlim_cur);
}

/* The file systems that several machines share, by the kernel's magic numbers. */
static const char *shared_name(const char *folder)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } rows[] = {{0x6969, "NFS"},        {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},
                {0x0bd00bd0, "Lustre"}, {0x00c36400, "Ceph"}, {0x47504653, "GPFS"},
                {0x19830326, "BeeGFS"}, {0x01021997, "9P"},   {0x65735546, "FUSE"},
                {0x7461636f, "OCFS2"},  {0x01161970, "GFS2"}, {0x73757245, "Coda"},
                {0x5346414f, "AFS"}};
    struct statfs status;
    if (statfs(folder, &status) != 0)
        return NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if ((unsigned long)status.f_type == rows[i].magic)
            return rows[i].name;
    }
    return NULL;
}

static void examine_disk(struct doctor *d, const char *what, const char *folder)
{
    char size[HUMAN_BYTES];
    struct statvfs status;
    if (statvfs(folder, &status) != 0) {
        doctor_tell(d, DOCTOR_BAD, what, "%s: %s", folder, strerror(errno));
        return;
    }
    const char *shared = shared_name(folder);
    uint64_t bytes = (uint64_t)status.f_bavail * (uint64_t)status.f_frsize;
    doctor_tell(d, bytes < DISK_BYTES_MIN ? DOCTOR_BAD : DOCTOR_OK, what, "%s free in %s",
                human_size(bytes, size), folder);
    if (shared != NULL)
        doctor_tell(d, DOCTOR_NOTE, what,
                    "%s is on %s: good for models and data; a coordinator's --data belongs on a "
                    "local disk",
                    folder, shared);
}

/* Reading the clock's state changes nothing. */
static void examine_clock(struct doctor *d)
{
    struct timex state = {0};
    int answer = adjtimex(&state);
    if (answer < 0 || answer == TIME_ERROR || (state.status & STA_UNSYNC) != 0)
        doctor_tell(d, DOCTOR_NOTE, "clock",
                    "not synchronized: times in logs will differ between machines");
    else
        doctor_tell(d, DOCTOR_OK, "clock", "synchronized, off by at most %ld ms",
                    state.maxerror / 1000);
}

static bool port_is_free(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    bool is_free = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd);
    return is_free;
}

static void examine_ports(struct doctor *d)
{
    char taken[64] = "";
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        size_t used = strlen(taken);
        if (!port_is_free(PORT_CONTROL + i))
            (void)snprintf(taken + used, sizeof taken - used, " %u", PORT_CONTROL + i);
    }
    if (taken[0] == '\0')
        doctor_tell(d, DOCTOR_OK, "ports", "%d to %d are free", PORT_CONTROL,
                    PORT_CONTROL + PORT_COUNT - 1);
    else
        doctor_tell(d, DOCTOR_NOTE, "ports",
                    "in use:%s (by a coordinator, if one runs here; another takes other ports)",
                    taken);
}

void doctor_machine_examine(struct doctor *doctor)
{
    const char *temporary = doctor->invocation->environment->temporary;
    examine_processor(doctor);
    examine_memory(doctor);
    examine_limits(doctor);
    examine_disk(doctor, "disk", ".");
    examine_disk(doctor, "temporary", temporary != NULL ? temporary : "/tmp");
    examine_clock(doctor);
    examine_ports(doctor);
}
