#!/usr/bin/env python3
"""The same bits for every way to adapt a model: one SHA-256 of each file of each result, with 1 and with 3 workers,
on another instruction set with 2 threads, and with workers and the coordinator killed all along; weights also with
other micro batches and with checkpointing. Another seed gives another result.

    adapt_bits.py [METHOD...]
"""
import os
import random
import subprocess
import sys
import time

import adapting
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check
from quantizing import check_once, pull
from same_bits import cpu_rows

WEIGHTS = (".safetensors", ".gguf")
OVER = ("ok", "FAIL", "cancel")


def submit_all(fleet, folder, methods, **changes):
    return {name: adapting.submit(fleet, folder, adapting.recipe(folder, name, **changes)) for name in methods}


def collect(fleet, folder, place, jobs):
    sums = {}
    for name, job in jobs.items():
        fleet.wait(job)
        check_once(fleet, job)
        sums[name] = pull(fleet, job, folder("pull-" + place, name))
    return sums


def run_all(folder, methods, place, workers, threads, isa, **changes):
    with Fleet(folder("fleet-" + place)) as fleet:
        fleet.start_coordinator()
        for number in range(workers):
            fleet.start_worker("w%d" % number, threads=threads, isa=isa)
        return collect(fleet, folder, place, submit_all(fleet, folder, methods, **changes))


def run_killed(folder, methods, hand):
    """Somebody dies every moment until all jobs are over."""
    killed = {"coordinator": 0, "worker": 0}
    with Fleet(folder("fleet-killed")) as fleet:
        fleet.start_coordinator()
        for number in range(3):
            fleet.start_worker("w%d" % number)
        jobs = submit_all(fleet, folder, methods)
        end, made = time.monotonic() + DEADLINE_S, 3
        while time.monotonic() < end:
            time.sleep(hand.uniform(0.3, 1.2))
            if all(row["state"] in OVER for row in fleet.json("jobs")):
                break
            if hand.random() < 0.2:
                fleet.kill_coordinator()
                fleet.start_coordinator()
                killed["coordinator"] += 1
            else:
                fleet.kill_worker(hand.choice(sorted(fleet.workers)))
                fleet.start_worker("w%d" % made)
                made += 1
                killed["worker"] += 1
        sums = collect(fleet, folder, "killed", jobs)
    check(all(killed.values()), "nobody was killed: %s" % killed)
    print("killed: %s" % killed, flush=True)
    return sums


def compare(first, sums, what, wanted=lambda name: True):
    for method, files in first.items():
        names = [name for name in files if wanted(name)]
        check(names, "%s has no such file" % method)
        check(set(sums[method]) == set(files), "%s, %s: other files: %s" % (method, what, sorted(sums[method])))
        differs = [name for name in names if sums[method][name] != files[name]]
        check(not differs, "%s, %s: differs: %s" % (method, what, differs))
    print("%-32s %d files equal" % (what, sum(len(files) for files in first.values())), flush=True)


def is_weights(name):
    return name.endswith(WEIGHTS)


def check_distinct(first):
    """Every method has its own weights; one that is silently another would be equal to it. What lies in a folder of
    a result is what another job has too: one variant of `many` is `lora`, and a merged adapter is the plain one."""
    owner = {}
    for method, files in first.items():
        for name in filter(is_weights, files):
            other = owner.setdefault(files[name], method) if os.path.dirname(name) == "" else method
            check(other == method, "%s gave the weights of %s" % (method, other))
    if "lora" in first and "many" in first:
        check(first["many"].get(adapting.LORA_VARIANT) == first["lora"]["adapter_model.safetensors"],
              "a variant of many is not what lora gave: %s" % sorted(first["many"]))


def main():
    methods = sys.argv[1:] or list(adapting.METHODS)
    with Scratch("adapt-bits") as folder:
        adapting.prepare(folder, lambda *words: subprocess.run([os.path.join(BIN, "qctl"), *words], check=True))
        first = run_all(folder, methods, "first", 1, 1, "best")
        check_distinct(first)
        compare(first, run_all(folder, methods, "three", 3, 1, "best"), "3 workers")
        row = "avx2" if "avx2" in cpu_rows() else "portable"
        compare(first, run_all(folder, methods, "row", 2, 2, row), "2 workers, 2 threads, " + row)
        compare(first, run_killed(folder, methods, random.Random(5)), "killed")
        changed = run_all(folder, methods, "batch", 2, 1, "best", micro_batch_size=12, gradient_accumulation_steps=1,
                          gradient_checkpointing=True)
        compare(first, changed, "batch 12 x 1, checkpointing", is_weights)
        other = run_all(folder, [name for name in methods if name != "many"], "other", 2, 1, "best", seed=12)
        for method, files in other.items():
            same = [name for name in files if is_weights(name) and files[name] == first[method].get(name)]
            check(not same, "%s: another seed gave the same %s: the comparison compares nothing" % (method, same))
        for method, files in first.items():
            for name in sorted(filter(is_weights, files)):
                print("%-12s %-32s %s" % (method, name, files[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
