#!/usr/bin/env python3
"""qfleet on a Slurm of this machine: Debian's slurmctld, slurmd and munged, started here as they are.

Three nodes of one processor each. While a job trains, workers are scaled 0 -> 3. Two leave before their time limit
and are replaced. The third knows of no limit, minds no SIGTERM and is slow: it is killed by Slurm at its limit, with
a task in its hands. The bits are those of a run without Slurm. Then 3 -> 0, workers on their own account (auto), and a
back-off when sbatch refuses.

Prints what Slurm says at each step. Exit 77 where the packages or root are missing.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import toy
from fleet import (BIN, Fleet, Scratch, check, check_counted_once, free_ports, run_embedded, sha256, skip, write,
                   write_recipe)

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
NODES = ("n1", "n2", "n3")
STEPS = 900
ROWS = 12  # of a step

# The program of the workers. One of them, whoever comes first, is told nothing of its time and does not hear SIGTERM.
WORKER = """#!/usr/bin/env python3
import os, signal, sys
words = sys.argv[1:]
try:
    os.rename("FOLDER/wanted", "FOLDER/taken")
except OSError:
    pass
else:
    at = words.index("--time-limit")
    del words[at:at + 2]
    os.environ.pop("SLURM_JOB_END_TIME", None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with open("FOLDER/stubborn.new", "w") as out:
        out.write("%d %s" % (os.getpid(), os.environ["SLURM_JOB_ID"]))
    os.rename("FOLDER/stubborn.new", "FOLDER/stubborn")
os.execv("PROGRAM", ["PROGRAM", *words])
"""


class Slurm:
    """Munge and Slurm in a folder, with keys, sockets and ports of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.is_up = False
        self.environment = dict(os.environ, SLURM_CONF=folder + "/slurm.conf")

    def __enter__(self):
        for name in ("spool", "state", "munge"):
            os.makedirs(self.folder + "/" + name, exist_ok=True)
        try:
            self.start_munge()
            self.write_configuration()
            self.start("slurmctld", "-D", "-c")
            for node in NODES:
                self.start("slurmd", "-D", "-N", node)
            self.wait_for_nodes()
            self.is_up = True
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_):
        if self.is_up:  # else nobody would answer
            self.run("scancel", "--signal=KILL", "--user=root", ok=False)
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind is not None:
            for name in ("slurmctld", *NODES, "munge"):
                self.show_log(name)

    def show_log(self, name):
        try:
            with open("%s/%s.log" % (self.folder, name), encoding="utf-8", errors="replace") as log:
                print("--- %s.log\n%s" % (name, "".join(log.readlines()[-30:])), file=sys.stderr)
        except OSError:
            pass

    def start(self, program, *flags):
        self.processes.append(subprocess.Popen(
            [shutil.which(program), *flags], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def start_munge(self):
        with open(self.folder + "/munge/key", "wb") as key:
            os.chmod(key.name, 0o600)
            key.write(os.urandom(1024))
        os.chmod(self.folder + "/munge", 0o755)
        self.start("munged", "--foreground", "--force", "--key-file=%s/munge/key" % self.folder,
                   "--socket=%s/munge/socket" % self.folder, "--pid-file=%s/munge/pid" % self.folder,
                   "--log-file=%s/munge.log" % self.folder, "--seed-file=%s/munge/seed" % self.folder)
        end = time.monotonic() + 60
        while not os.path.exists(self.folder + "/munge/socket"):
            check(time.monotonic() < end, "munged does not come up")
            time.sleep(0.05)

    def write_configuration(self):
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(NODES))
        settings = {
            "ClusterName": "qfleet", "SlurmctldHost": host + "(127.0.0.1)", "SlurmUser": "root", "SlurmdUser": "root",
            "AuthType": "auth/munge", "AuthInfo": "socket=%s/munge/socket" % self.folder,
            "CredType": "cred/munge", "SlurmctldPort": ports[0],
            "SlurmctldPidFile": self.folder + "/slurmctld.pid", "SlurmdPidFile": self.folder + "/%n.pid",
            "SlurmdSpoolDir": self.folder + "/spool/%n", "StateSaveLocation": self.folder + "/state",
            "SlurmctldLogFile": self.folder + "/slurmctld.log", "SlurmdLogFile": self.folder + "/%n.log",
            "ProctrackType": "proctrack/pgid", "TaskPlugin": "task/none", "SwitchType": "switch/none",
            "MpiDefault": "none", "MailProg": "/bin/true", "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU", "SchedulerType": "sched/builtin",
            "JobAcctGatherType": "jobacct_gather/none", "AccountingStorageType": "accounting_storage/none",
            "JobCompType": "jobcomp/none", "SlurmdParameters": "config_overrides", "ReturnToService": 2,
            "KillWait": 2, "CompleteWait": 0, "MinJobAge": 300,
        }
        lines = ["%s=%s" % pair for pair in settings.items()]
        lines += ["NodeName=%s NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=1 RealMemory=500 State=UNKNOWN"
                  % (node, host, port) for node, port in zip(NODES, ports[1:])]
        lines.append("PartitionName=main Nodes=%s Default=YES MaxTime=INFINITE State=UP" % ",".join(NODES))
        write(self.folder + "/slurm.conf", "\n".join(lines) + "\n")

    def run(self, *words, ok=True):
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        check(done.returncode == 0 or not ok, "%s: %s" % (" ".join(words), done.stderr))
        return done.stdout

    def wait_for_nodes(self):
        end = time.monotonic() + 60
        while True:
            said = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", ok=False).split("\n")
            if sorted(line for line in said if line) == ["%s idle" % node for node in NODES]:
                return
            check(time.monotonic() < end, "the nodes do not come up: %s" % said)
            time.sleep(0.2)

    def jobs(self, states="PENDING,RUNNING,CONFIGURING,COMPLETING"):
        """Id to state of the jobs there are."""
        rows = self.run("squeue", "--noheader", "--states=" + states, "--format=%i %T %N").splitlines()
        return {row.split()[0]: row.split()[1] for row in rows}

    def show(self, title):
        print("== %s\n%s" % (title, self.run("squeue", "--states=all", "--format=%i %T %M %l %N %r").rstrip()))
        sys.stdout.flush()


class TcpFleet(Fleet):
    """A coordinator as a site runs it: over TCP, with keys, providers of a file."""

    def __init__(self, folder, environment):
        super().__init__(folder)
        self.keys = self.folder + "/keys"
        self.environment = environment
        self.qctl_keys = []
        subprocess.run([os.path.join(BIN, "qctl"), "init", self.keys, "--host", "127.0.0.1"], check=True,
                       stdout=subprocess.DEVNULL)

    def start_coordinator(self, *flags):
        process = subprocess.Popen(
            [os.path.join(BIN, "qfleet-coordinator"), "--data", self.data, "--http", "off",
             "--control", "tcp://127.0.0.1:*", "--bulk", "tcp://127.0.0.1:*", "--keys", self.keys + "/keys.list",
             "--secret", self.keys + "/coordinator.key", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, env=self.environment)
        line = process.stdout.readline().decode()
        check(line.startswith("ready "), "the coordinator said %r; its log: %s" % (line, self.log.name))
        self.endpoint = dict(word.split("=", 1) for word in line.split()[1:])["control"]
        self.coordinator = process

    def qctl(self, *arguments, **options):
        return super().qctl(*arguments, "--secret", self.keys + "/admin.key", "--server-key",
                            self.keys + "/coordinator.key.pub", **options)


def wait_until(what, condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, "after %d s still not: %s" % (seconds, what))
        time.sleep(0.2)


def ready(fleet):
    return sorted(row["name"] for row in fleet.json("workers") if row["state"] == "ready")


def points(fleet, job):
    return fleet.json("show", job)["point_count"]


def scale(fleet, *words, **options):
    """Several commands of Slurm's, one after another, answer before this does."""
    return fleet.qctl("workers", "scale", *words, "--timeout", "60s", **options)


def provider(fleet):
    return fleet.json("workers", "providers")[0]


def write_providers(path, fleet, log, **changes):
    keys = dict({"name": "cluster", "kind": "slurm", "max": 3, "target": 0, "threads": 1, "memory": "400MiB",
                 "time_limit": "1m", "idle_timeout": "2s", "partition": "main", "log": log,
                 "program": os.path.join(os.path.dirname(path), "worker.py"),
                 "secret": fleet.keys + "/worker.key", "server_key": fleet.keys + "/coordinator.key.pub"}, **changes)
    write(path, "providers:\n  - " + "\n    ".join("%s: %s" % pair for pair in keys.items()) + "\n")


def main():
    missing = [name for name in PROGRAMS if shutil.which(name) is None and not os.path.exists("/usr/sbin/" + name)]
    os.environ["PATH"] += ":/usr/sbin"
    if missing:
        skip("not installed: %s (Debian: slurm-wlm munge)" % " ".join(missing))
    if os.getuid() != 0:
        skip("slurmd and munged are started as root here")
    with Scratch("slurm") as folder:
        os.chmod(folder.path, 0o755)
        model = toy.make_model(lambda *words: subprocess.run([os.path.join(BIN, "qctl"), *words], check=True),
                               folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        write_recipe(folder("recipe.yml"), toy.recipe(folder, model, max_steps=STEPS, save_steps=STEPS // 4,
                                                      eval_steps=STEPS // 2,
                                                      output_dir=folder("alone")))
        write(folder("worker.py"), WORKER.replace("FOLDER", folder.path).replace(
            "PROGRAM", os.path.abspath(os.path.join(BIN, "qfleet-worker"))))
        os.chmod(folder("worker.py"), 0o755)
        write(folder("wanted"), "")
        os.makedirs(folder("slurm"))
        # While others wait for their time to come.
        alone = threading.Thread(target=run_embedded, args=(folder("recipe.yml"),), daemon=True)
        with Slurm(folder("slurm")) as slurm, TcpFleet(folder("fleet"), slurm.environment) as fleet:
            write_providers(folder("providers.yml"), fleet, folder("job-%j.log"))
            fleet.start_coordinator("--providers", folder("providers.yml"))
            alone.start()
            job = trains_on_slurm(folder, slurm, fleet)
            comes_and_goes_by_itself(folder, slurm, fleet)
            backs_off(folder, slurm, fleet)
            alone.join()
        check(sha256(folder("pull", "adapter_model.safetensors")) ==
              sha256(folder("alone", "adapter_model.safetensors")), "other bits than without Slurm, job " + job)
        print("equal bits with and without Slurm")
    return 0


class Stubborn:
    """The worker that will not leave."""

    def __init__(self, folder):
        with open(folder("stubborn"), encoding="ascii") as file:
            pid, self.job = file.read().split()
        self.pid = int(pid)
        self.name = "cluster-" + self.job
        self.task, self.points = "", 0  # what it was seen at, and how far the job was

    def row(self, fleet):
        return [row for row in fleet.json("workers") if row["name"] == self.name][0]

    def lives(self):
        return os.path.exists("/proc/%d/exe" % self.pid)

    def send(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def look(self, fleet, job):
        seen = self.row(fleet)["task"], points(fleet, job)
        if self.lives():
            self.task, self.points = seen[0] or self.task, seen[1]

    def used_s(self):
        """Processor time."""
        try:
            with open("/proc/%d/stat" % self.pid, encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0  # it has ended

    def crawl(self):
        """Lets it compute for a fiftieth of a second a turn as long as it lives: steps wait for it, however fast this
        machine is, and it is heard of, however slow."""
        while self.lives():
            until, end = self.used_s() + 0.02, time.monotonic() + 0.5
            self.send(signal.SIGCONT)
            while self.used_s() < until and time.monotonic() < end:
                time.sleep(0.005)
            self.send(signal.SIGSTOP)
            time.sleep(0.5)


def trains_on_slurm(folder, slurm, fleet):
    job = fleet.submit(folder("recipe.yml"))
    check(slurm.jobs() == {}, "jobs before anybody asked for them")
    print(scale(fleet, 3, "--dry-run").stdout)
    check(slurm.jobs() == {}, "a dry run submitted something")
    scale(fleet, 3)
    wait_until("3 workers of 3 jobs", lambda: len(ready(fleet)) == 3 and len(slurm.jobs()) == 3)
    slurm.show("0 -> 3: %s" % " ".join(ready(fleet)))
    stubborn = Stubborn(folder)
    first = set(slurm.jobs())
    ends = {row["name"]: row["ends_in"] for row in fleet.json("workers")}
    check(all((end > 0) == (name != stubborn.name) for name, end in ends.items()), "ends of workers: %s" % ends)
    reaches_its_limit(slurm, fleet, job, stubborn, first)
    fleet.wait(job)
    fleet.qctl("pull", job, folder("pull"))
    names = check_counted_once(fleet, job, ROWS)
    check(stubborn.name in names, "who was killed had done nothing")
    scale(fleet, 0)
    wait_until("nobody", lambda: slurm.jobs() == {} and ready(fleet) == [])
    slurm.show("3 -> 0")
    return job


def reaches_its_limit(slurm, fleet, job, stubborn, first):
    """Everybody of the first three is replaced: two left in time, one was killed by Slurm in mid-job."""
    def others_in_place():
        if stubborn.lives():
            stubborn.look(fleet, job)
        there = set(ready(fleet))
        return len(there) == 3 and not there & names and not first & set(slurm.jobs())
    names = {"cluster-" + one for one in first}
    threading.Thread(target=stubborn.crawl, daemon=True).start()
    wait_until("workers of other jobs in place of %s" % " ".join(sorted(first)), others_in_place, 180)
    slurm.show("after the limit of the first: %s" % " ".join(ready(fleet)))
    rows = slurm.run("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines()
    ended = {row.split()[0]: row.split()[1] for row in rows}
    check(ended[stubborn.job] == "TIMEOUT", "not killed at its limit: %s" % ended)
    check(all(ended[one] == "COMPLETED" for one in first - {stubborn.job}), "not gone by themselves: %s" % ended)
    check(stubborn.task != "" and stubborn.points < STEPS, "it had nothing in its hands when it was killed")
    check(stubborn.row(fleet)["state"] == "lost", "it is not lost: %s" % stubborn.row(fleet))
    print("job %s was killed at its limit, at %s, after %d of %d steps" % (stubborn.job, stubborn.task,
                                                                           stubborn.points, STEPS))


def comes_and_goes_by_itself(folder, slurm, fleet):
    """auto: as many as the work needs, nobody without work."""
    write_recipe(folder("short.yml"), toy.recipe(folder, folder("model"), max_steps=30, output_dir=folder("short")))
    scale(fleet, "auto")
    time.sleep(1)
    check(slurm.jobs() == {}, "workers without work")
    fleet.wait(fleet.submit(folder("short.yml")))
    slurm.show("auto: a job was run")
    wait_until("nobody without work", lambda: slurm.jobs() == {} and ready(fleet) == [])
    print("auto: everybody left")


def backs_off(folder, slurm, fleet):
    write_providers(folder("providers.yml"), fleet, folder("job-%j.log"), partition="nowhere")
    fleet.coordinator.send_signal(1)
    wait_until("the file is read again", lambda: "nowhere" in scale(fleet, 2, "--dry-run").stdout)
    for _ in range(3):
        said = scale(fleet, 2, ok=False)
        if said.returncode != 0:
            break  # else the look came when the rest after the failure was over and the next start had not begun
    check(said.returncode == 7 and "partition" in said.stderr, "scale said %s" % said)
    wait_until("a back-off", lambda: provider(fleet)["state"] in ("back-off", "paused"))
    print("back-off: %s" % provider(fleet)["detail"])
    check("partition" in provider(fleet)["detail"], "the reason is not Slurm's: %s" % provider(fleet))
    check(slurm.jobs() == {}, "a job of a partition that is not there")
    scale(fleet, 0)


if __name__ == "__main__":
    sys.exit(main())
