#!/usr/bin/env python3
"""The same bits after going back, for every way to adapt a model: a job that is over is sent back to a checkpoint and
the coordinator killed; a fork with equal keys ends as the first did, and begins nothing anew.

    restore_bits.py [METHOD...]
"""
import os
import subprocess
import sys

import adapting
from adapt_bits import compare, is_weights
from fleet import BIN, Fleet, Scratch, check
from quantizing import pull

METHODS = ("lora", "full", "patterns", "dora", "pissa", "loftq", "int8", "qat-q4_0", "qat-lora", "ternary", "prompt",
           "houlsby", "dpo", "dpo-full", "merge-q4_0", "many")
STEP = 6


def at(fleet, job):
    """Checkpoints after STEP, one a training."""
    return [row["digest"] for row in fleet.json("ckpt", "log", job) if row["step"] == STEP]


def collect(fleet, folder, place, jobs):
    sums = {}
    for name, job in jobs.items():
        fleet.wait(job)
        sums[name] = pull(fleet, job, folder("pull-" + place, name))
    return sums


def sent_back(fleet, jobs):
    for job in jobs.values():
        for digest in at(fleet, job):
            fleet.qctl("ckpt", "restore", job, digest)
    fleet.kill_coordinator()
    fleet.start_coordinator()


def fork_all(fleet, jobs):
    return {name: fleet.qctl("ckpt", "fork", at(fleet, job)[0]).stdout.strip()
            for name, job in jobs.items() if name != "many"}


def main():
    methods = sys.argv[1:] or METHODS
    with Scratch("restore-bits") as folder, Fleet(folder("fleet")) as fleet:
        adapting.prepare(folder, lambda *words: subprocess.run([os.path.join(BIN, "qctl"), *words], check=True))
        fleet.start_coordinator()
        fleet.start_worker("a")
        fleet.start_worker("b")
        jobs = {name: adapting.submit(fleet, folder, adapting.recipe(folder, name)) for name in methods}
        first = collect(fleet, folder, "first", jobs)
        sent_back(fleet, jobs)
        compare(first, collect(fleet, folder, "again", jobs), "sent back to step %d" % STEP)
        alone = {name: files for name, files in first.items() if name != "many"}
        forks = fork_all(fleet, jobs)
        compare(alone, collect(fleet, folder, "fork", forks), "forked after step %d" % STEP, is_weights)
        for name, job in forks.items():
            kinds = [row["kind"] for row in fleet.json("graph", job)]
            check("init" not in kinds, "a fork of %s begins anew: %s" % (name, kinds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
