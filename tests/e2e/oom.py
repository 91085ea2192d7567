#!/usr/bin/env python3
"""A worker that the kernel kills for memory: in a control group with less memory than its task needs, made below this test's own
group. The next process of that name says OOM_KILLED with size, limit and stage, so does the log of the job, and the job ends
with the bits of one that nobody disturbed. Without --memory a worker has what its group has. Skips where no group can be made.
"""
import json
import os
import shutil
import signal
import sys
import time

import toy
from fleet import BIN, Fleet, Scratch, check, sha256, skip, write, write_recipe

MIB = 1 << 20
SMALL, LARGE = 96 * MIB, 1024 * MIB


class Group:
    """A control group of memory, of either version, below our own."""

    def __init__(self):
        self.path = None
        for mark, root, limit in ((":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("0::", "/sys/fs/cgroup", "memory.max")):
            path = self.own(mark, root)
            if path and os.path.exists(os.path.join(path, limit)):
                self.path, self.limit = os.path.join(path, "qfleet-oom-%d" % os.getpid()), limit
                break
        if self.path is None:
            skip("no control group of memory here")
        try:
            os.mkdir(self.path)
            self.set(SMALL)
        except OSError as error:
            self.remove()
            skip("no control group can be made below our own: %s" % error)

    @staticmethod
    def own(mark, root):
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                if mark in line:
                    inner = root + line.split(mark, 1)[1].strip().rstrip("/")
                    return inner if os.path.isdir(inner) else root
        return None

    def set(self, size):
        write(os.path.join(self.path, self.limit), str(size))

    def remove(self):
        if os.path.isdir(self.path):
            os.rmdir(self.path)

    def start(self, fleet, name, *flags):
        """A worker within it from its first page on."""
        cache = os.path.join(fleet.folder, "cache-" + name)
        command = [os.path.join(BIN, "qfleet-worker"), "--coordinator", fleet.endpoint, "--name", name, "--threads", "1", "--cache", cache]
        fleet.workers[name] = fleet._spawn(
            ["sh", "-c", 'echo $$ > "$0" && exec "$@"', os.path.join(self.path, "cgroup.procs"), *command, *flags], stdout=fleet.log)


def wait_until(what, condition):
    end = time.monotonic() + 60
    while not condition():
        check(time.monotonic() < end, "never: " + what)
        time.sleep(0.05)


def full(folder, model, name):
    keys = toy.recipe(folder, model, name=name, max_steps=2, eval_steps=0, warmup_steps=0, output_dir=folder("out-" + name))
    return {key: value for key, value in keys.items() if not key.startswith("lora") and key not in ("adapter", "test_datasets")}


def weights(fleet, folder, job):
    fleet.qctl("pull", job, folder)
    return sha256(os.path.join(folder, "model.safetensors"))


def check_killed(fleet, folder, group, model):
    write_recipe(folder("full.yml"), full(folder, model, "full"))
    group.start(fleet, "one", "--memory", "8GiB")  # it says that it has more than it may
    job = fleet.submit(folder("full.yml"))
    wait_until("a worker that the kernel kills", lambda: fleet.workers["one"].poll() is not None)
    check(fleet.workers.pop("one").returncode == -9, "the worker was not killed")
    group.set(LARGE)
    group.start(fleet, "one")
    fleet.wait(job)
    said = [row["detail"] for row in fleet.json("workers") if row["name"] == "one" and "OOM_KILLED" in row["detail"]]
    check(said and "stage train of job %s" % job[:7] in said[0] and "limit 96 MiB" in said[0], "workers say %r" % said)
    events = fleet.qctl("logs", job).stdout
    check("worker one: OOM_KILLED rss" in events, "the log of the job is\n" + events)
    print([line for line in events.splitlines() if "OOM_KILLED" in line][0])
    return weights(fleet, folder("killed"), job)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the group goes in any case
    group = Group()
    try:
        with Scratch("oom") as folder, Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            toy.write_tokenizer(folder("empty"))
            write(folder("empty", "config.json"), json.dumps(dict(toy.CONFIG, hidden_size=384, intermediate_size=1024, num_hidden_layers=4)))
            fleet.qctl("model", "create", "--config", folder("empty", "config.json"), "--tokenizer", folder("empty"), folder("model"))
            toy.write_rows(folder("train.jsonl"), 60, 1)
            killed = check_killed(fleet, folder, group, folder("model"))
            memory = [row["memory_bytes"] for row in fleet.json("workers") if row["name"] == "one" and row["state"] == "ready"]
            check(memory == [LARGE], "a worker of a group of %d bytes says %r" % (LARGE, memory))
            write_recipe(folder("again.yml"), full(folder, folder("model"), "again"))
            again = fleet.submit(folder("again.yml"))
            fleet.wait(again)
            check(weights(fleet, folder("again"), again) == killed, "the bits differ from those of an undisturbed job")
            shutil.rmtree(folder("killed"))
    finally:
        for _ in range(100):
            try:
                group.remove()
                break
            except OSError:
                time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
