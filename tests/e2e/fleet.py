"""fleet - real processes for end-to-end tests: a coordinator, its workers, and qctl beside them.

A test is a script that exits 0 (held), 77 (cannot run here, and says why) or anything else (broke).
"""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BIN = os.environ.get("QFLEET_BIN", "build/release/bin")
DEADLINE_S = float(os.environ.get("QFLEET_TEST_DEADLINE", "600"))


def data_folder():
    """The folder of real models and texts, or None."""
    for folder in (os.environ.get("QFLEET_DATA"), "../shared/data"):
        if folder and os.path.isdir(folder):
            return os.path.abspath(folder)
    return None


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def free_ports(count):
    """Ports in a row that nobody has, below those that the system gives out: no other socket gets one by chance."""
    while True:
        first = random.randrange(10000, 32000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for port, one in enumerate(sockets, first):
                one.bind(("", port))
            return list(range(first, first + count))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def write_recipe(path, keys):
    """A recipe file; JSON is YAML."""
    write(path, json.dumps(keys, indent=1) + "\n")


def e2e_rows(source, target, count=None):
    """`meaning||text` lines as prompt and completion rows, both stripped."""
    with open(source, encoding="utf-8") as lines, open(target, "w", encoding="utf-8") as out:
        for number, line in enumerate(lines):
            if count is not None and number >= count:
                break
            prompt, completion = line.rstrip("\n").split("||")
            out.write(json.dumps({"prompt": prompt.strip(), "completion": completion.strip()}) + "\n")


class Scratch:
    """A temporary folder that stays when the test broke, so that logs can be read."""

    def __init__(self, name):
        self.path = tempfile.mkdtemp(prefix="qfleet-%s-" % name)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            print("kept for reading: " + self.path, file=sys.stderr)

    def __call__(self, *parts):
        return os.path.join(self.path, *parts)


class Fleet:
    """One coordinator and its workers in a folder. Processes die with the test."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self.data = os.path.join(self.folder, "data")
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.coordinator = None
        self.workers = {}
        self.endpoint = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.report()
        ends = self.stop()
        if kind is None:
            for name, code in ends.items():
                check(code in (0, -signal.SIGTERM, -signal.SIGKILL), self.obituary(name, code))

    def _spawn(self, command, **options):
        return subprocess.Popen(command, stderr=self.log, stdin=subprocess.DEVNULL, **options)

    def start_coordinator(self, *flags):
        process = self._spawn([os.path.join(BIN, "qfleet-coordinator"), "--data", self.data, "--embedded", *flags],
                              stdout=subprocess.PIPE)
        line = process.stdout.readline().decode()
        check(line.startswith("ready "), "the coordinator said %r; its log: %s" % (line, self.log.name))
        said = dict(word.split("=", 1) for word in line.split()[1:])
        self.endpoint, self.http = said["control"], said.get("http")
        self.coordinator = process

    def start_worker(self, name, threads=1, isa="best", extra=()):
        self.workers[name] = self._spawn(
            [os.path.join(BIN, "qfleet-worker"), "--coordinator", self.endpoint, "--name", name,
             "--threads", str(threads), "--isa", isa, "--cache", os.path.join(self.folder, "cache-" + name), *extra],
            stdout=self.log)

    def kill_worker(self, name):
        process = self.workers.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def freeze_worker(self, name):
        """It stands still when this returns, every thread of it, until thaw_worker or kill_worker."""
        process = self.workers[name]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.check_alive()

    def thaw_worker(self, name):
        self.workers[name].send_signal(signal.SIGCONT)

    def kill_coordinator(self):
        process, self.coordinator = self.coordinator, None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

    def processes(self):
        """What runs, or should, by name."""
        return dict(self.workers, **({"the coordinator": self.coordinator} if self.coordinator else {}))

    def stop(self):
        """Asks all to end, and returns how they did: the exit code of each, which a sanitizer's report changes."""
        processes = self.processes()
        for process in processes.values():
            process.terminate()
        end = time.monotonic() + 10
        for process in processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.workers.clear()
        self.coordinator = None
        return {name: process.returncode for name, process in processes.items()}

    def log_end(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-60:])

    def obituary(self, name, code):
        return "%s ended with %d; the log ends:\n%s" % (name, code, self.log_end())

    def report(self):
        """What a test that breaks leaves behind, for whoever reads its output only."""
        for words in (("jobs",), ("workers",), ("workers", "providers")) if self.coordinator else ():
            try:
                done = self.qctl(*words, "--timeout", "10s", ok=False)
                print("== qctl %s\n%s%s" % (" ".join(words), done.stdout, done.stderr))
            except AssertionError as error:  # somebody ended, who says so in the log
                print("== qctl %s: %s" % (" ".join(words), str(error).split("\n", maxsplit=1)[0]))
        print("== the log ends\n" + self.log_end())

    def check_alive(self):
        """Nobody ended but by kill_*. Whoever waits for what a dead process should do would wait for nothing."""
        for name, process in self.processes().items():
            code = process.poll()
            if code is not None:
                raise AssertionError(self.obituary(name, code))

    def qctl(self, *arguments, ok=True, timeout=None):
        command = [os.path.join(BIN, "qctl"), *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, QFLEET_COORDINATOR=self.endpoint)) as process:
            try:
                stdout, stderr = self._communicate(process, time.monotonic() + (timeout or DEADLINE_S))
            finally:
                process.kill()
        done = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
        if ok and done.returncode != 0:
            raise AssertionError("qctl %s: exit %d\n%s%s"
                                 % (" ".join(map(str, arguments)), done.returncode, done.stdout, done.stderr))
        return done

    def _communicate(self, process, end):
        while True:
            try:
                return process.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                self.check_alive()
                check(time.monotonic() < end, "%s: no end in sight" % " ".join(process.args))

    def json(self, *arguments):
        return json.loads(self.qctl(*arguments, "-o", "json").stdout)

    def json_lines(self, *arguments):
        """Of `watch` and `logs`: one value a line."""
        return [json.loads(line) for line in self.qctl(*arguments, "-o", "json").stdout.splitlines()]

    def submit(self, recipe):
        return self.qctl("submit", recipe).stdout.strip()

    def wait(self, job, timeout=None):
        self.qctl("wait", job, timeout=timeout)


def run_embedded(recipe, workers=1, threads=1, isa="best", extra=()):
    """`qctl run`; returns the finished process. Fails the test when the job does."""
    environment = dict(os.environ, QFLEET_ISA=isa)
    done = subprocess.run([os.path.join(BIN, "qctl"), "run", recipe, "--workers", str(workers),
                           "--threads", str(threads), *extra],
                          capture_output=True, text=True, timeout=DEADLINE_S, env=environment)
    check(done.returncode == 0, "qctl run %s: exit %d\n%s%s"
          % (recipe, done.returncode, done.stdout, done.stderr))
    return done


def check_counted_once(members, job, rows_per_step):
    """Each task of the job's arrays was committed once, none is missing; each step took every row of its round once.

    Returns the names of workers whose gradients are in checkpoints."""
    rounds = ("train", "evaluate")
    stages = members.json("graph", job)
    check(all(row["done"] == row["total"] for row in stages), "not all is done: %s" % stages)
    tasks = ["%s[%d]" % (row["name"], i) for row in stages if row["kind"] not in rounds for i in range(row["total"])]
    done = [e["text"].split(" done")[0] for e in members.json_lines("logs", job) if " done" in e["text"]]
    expected = tasks + [row["name"] for row in stages if row["kind"] in rounds]
    check(sorted(done) == sorted(expected), "committed were %s, expected %s" % (sorted(done), sorted(expected)))
    trained, names = 0, set()
    for row in sorted(members.json("ckpt", "log", job), key=lambda row: row["step"]):
        ledger = members.json("ckpt", "show", row["digest"])["workers"]
        rows = sum(part["rows"] for part in ledger)
        check(rows == (row["step"] - trained) * rows_per_step, "steps %d to %d took %d rows: %s"
              % (trained, row["step"], rows, ledger))
        trained = row["step"]
        names.update(part["worker"] for part in ledger)
    print("%d tasks, each committed once; %d steps, each with its %d rows once, by %s"
          % (len(tasks), trained, rows_per_step, " ".join(sorted(names))))
    return names


def eval_losses(folder):
    """eval_loss by step of a trainer_state.json."""
    with open(os.path.join(folder, "trainer_state.json"), encoding="utf-8") as file:
        state = json.load(file)
    return {row["step"]: row["eval_loss"] for row in state["log_history"] if "eval_loss" in row}
