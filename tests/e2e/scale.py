#!/usr/bin/env python3
"""Workers come and go while a job trains: 0, then 4, then 1, then 0, all of them started by the coordinator.

The job's bits are those of a run with one worker, no task is lost or counted twice, workers that are too
many leave by themselves, one that is killed is replaced, and a restarted coordinator finds those that
are there.
"""
import os
import signal
import subprocess
import sys
import time

import toy
from fleet import BIN, Fleet, Scratch, check, check_counted_once, run_embedded, sha256, write, write_recipe

ROWS = 12  # of a step


def processes(word):
    """Pids of workers that have `word` on their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                line = file.read().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if line[0].endswith("qfleet-worker") and word in line:
            found.append(int(pid))
    return found


def wait_until(what, condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, "after %d s still not: %s" % (seconds, what))
        time.sleep(0.1)


def ready(fleet):
    return [row["name"] for row in fleet.json("workers") if row["state"] == "ready"]


def left(fleet):
    return [row["name"] for row in fleet.json("workers") if row["state"] == "left"]


def points(fleet, job):
    return fleet.json("show", job)["point_count"]


def state(fleet, job):
    return fleet.json("show", job)["row"]["state"]


def wait_for_points(fleet, job, more):
    goal = points(fleet, job) + more
    wait_until("%d steps" % goal, lambda: points(fleet, job) >= goal)


def provider(fleet):
    return fleet.json("workers", "providers")[0]


def allocation(pid):
    """What the worker was started as: no two of a data folder have the same."""
    with open("/proc/%d/cmdline" % pid, "rb") as file:
        words = file.read().decode().split("\0")
    return words[words.index("--allocation") + 1]


def here(fleet):
    """Allocations of the workers that are there, or None while processes and the coordinator's list differ."""
    listed = sorted(row["allocation"] for row in fleet.json("workers") if row["state"] == "ready")
    try:
        running = sorted(allocation(pid) for pid in processes(fleet.endpoint))
    except (OSError, ValueError):
        return None  # one has just ended
    return listed if listed == running else None


def wait_for_workers(fleet, count, without=None):
    """So many, in the list as among processes, `without` not among them."""
    def is_so():
        names = here(fleet) or []
        return len(names) == count and without not in names
    wait_until("%d workers" % count, is_so)


def main():
    with Scratch("scale") as folder, Fleet(folder("fleet")) as fleet:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        keys = toy.recipe(folder, model, max_steps=400, save_steps=20, eval_steps=200,
                          output_dir=folder("alone"))
        write_recipe(folder("recipe.yml"), keys)
        run_embedded(folder("recipe.yml"))
        reference = sha256(folder("alone", "adapter_model.safetensors"))
        print("alone: %s" % reference[:16])
        scaled(folder, fleet, reference)
    return 0


def scaled(folder, fleet, reference):
    write(folder("providers.yml"), "providers:\n  - name: here\n    kind: local\n    max: 4\n    target: 0\n"
          "    threads: 1\n    program: %s\n" % os.path.abspath(os.path.join(BIN, "qfleet-worker")))
    fleet.start_coordinator("--providers", folder("providers.yml"))
    job = fleet.submit(folder("recipe.yml"))
    time.sleep(1)
    check(processes(fleet.endpoint) == [] and points(fleet, job) == 0, "something ran with no workers")
    dry = fleet.qctl("workers", "scale", 4, "--dry-run").stdout
    check("start" in dry and "--provider here" in dry, "the dry run says %r" % dry)
    check(processes(fleet.endpoint) == [], "a dry run started something")

    fleet.qctl("workers", "scale", 4, "--timeout", "60s")
    wait_for_workers(fleet, 4)
    wait_for_points(fleet, job, 20)
    print("0 -> 4: %s" % " ".join(ready(fleet)))

    pid = processes(fleet.endpoint)[0]
    killed = allocation(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for_workers(fleet, 4, without=killed)
    wait_for_points(fleet, job, 20)
    print("killed one: %s" % " ".join(ready(fleet)))

    fleet.qctl("workers", "scale", 1)
    wait_for_workers(fleet, 1)
    wait_until("3 that left", lambda: len(left(fleet)) == 3)
    check(state(fleet, job) == "run", "the job was over before its workers went")
    print("4 -> 1: %s, %d left by themselves" % (" ".join(ready(fleet)), len(left(fleet))))

    pid = processes(fleet.endpoint)
    fleet.kill_coordinator()
    fleet.start_coordinator("--providers", folder("providers.yml"))
    wait_for_points(fleet, job, 10)
    time.sleep(6)
    check(processes(fleet.endpoint) == pid, "a restarted coordinator did not keep to its one worker")
    print("restarted: %s" % " ".join(ready(fleet)))

    fleet.wait(job)
    fleet.qctl("pull", job, folder("pull"))
    check(sha256(folder("pull", "adapter_model.safetensors")) == reference, "other bits")
    names = check_counted_once(fleet, job, ROWS)
    check(len(names) > 1, "what several workers did went into no checkpoint")
    fleet.qctl("workers", "scale", 0)
    wait_until("nobody", lambda: processes(fleet.endpoint) == [])
    print("1 -> 0: %s, equal bits" % provider(fleet)["state"])


if __name__ == "__main__":
    sys.exit(main())
