#!/usr/bin/env python3
"""The same bits whatever the fleet does: one recipe, one SHA-256 of the adapter.

Workers 1, 2, 3; threads 1, 2; other micro_batch_size x gradient_accumulation_steps of the same product;
the avx512, avx2 and portable rows; a worker killed in mid-round; the coordinator killed and restarted.
"""
import os
import subprocess
import sys
import time

import toy
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, run_embedded, sha256, write_recipe


def cpu_rows():
    flags = ""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("flags"):
                flags = line
                break
    rows = ["portable"]
    if " avx2 " in flags and " fma " in flags:
        rows.append("avx2")
    if " avx512f " in flags:
        rows.append("avx512")
    return rows


def embedded_variants():
    yield "1 worker", {}, {}
    yield "2 workers", {"workers": 2}, {}
    yield "3 workers", {"workers": 3}, {}
    yield "1 worker, 2 threads", {"threads": 2}, {}
    yield "3 workers, 2 threads", {"workers": 3, "threads": 2}, {}
    yield "batch 1 x 12", {"workers": 2}, {"micro_batch_size": 1, "gradient_accumulation_steps": 12}
    yield "batch 2 x 6", {"workers": 2}, {"micro_batch_size": 2, "gradient_accumulation_steps": 6}
    yield "batch 12 x 1", {"workers": 2}, {"micro_batch_size": 12, "gradient_accumulation_steps": 1}
    for row in cpu_rows():
        yield "row " + row, {"workers": 2, "isa": row}, {}
    yield "checkpointing", {"workers": 2}, {"gradient_checkpointing": True}


def wait_for_points(fleet, job, count):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        shown = fleet.json("show", job)
        if shown["point_count"] >= count or shown["row"]["state"] in ("ok", "FAIL"):
            return shown
        time.sleep(0.02)
    raise AssertionError("no %d steps within two minutes" % count)


def replace_worker(fleet):
    """The one that is there longest dies, one of the next letter comes."""
    oldest, after = next(iter(fleet.workers)), chr(ord(max(fleet.workers)) + 1)
    fleet.kill_worker(oldest)
    fleet.start_worker(after)


def restart_coordinator(fleet):
    fleet.kill_coordinator()
    fleet.start_coordinator()


def is_hit(fleet, job, count, kill):
    """Whether `kill` at so many steps came while the job ran: it is looked at afterwards, so that a yes is sure."""
    wait_for_points(fleet, job, count)
    kill(fleet)
    state = fleet.json("show", job)["row"]["state"]
    check(state in ("run", "ok"), "after a kill the job is in the state " + state)
    return state == "run"


def hit(fleet, recipe, kills):
    """A job that each of `kills`, by its number of steps, met in mid-job. One that was over by then is no use, and
    the next one is submitted."""
    end = time.monotonic() + DEADLINE_S
    while True:
        job = fleet.submit(recipe)
        if all(is_hit(fleet, job, count, kill) for count, kill in kills):
            return job
        check(time.monotonic() < end, "every job was over before something was killed")


def killed_worker(folder, recipe):
    with Fleet(folder("fleet-worker")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a")
        fleet.start_worker("b")
        job = hit(fleet, recipe, [(3, replace_worker)])
        fleet.wait(job)
        fleet.qctl("pull", job, folder("killed-worker"))
    return folder("killed-worker", "adapter_model.safetensors")


def killed_coordinator(folder, recipe):
    with Fleet(folder("fleet-coordinator")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a")
        fleet.start_worker("b")
        job = hit(fleet, recipe, [(2, restart_coordinator), (7, restart_coordinator)])
        fleet.wait(job)
        fleet.qctl("pull", job, folder("killed-coordinator"))
    return folder("killed-coordinator", "adapter_model.safetensors")


def main():
    with Scratch("same-bits") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        sums = {}
        for name, options, changes in embedded_variants():
            keys = toy.recipe(folder, model, output_dir=folder("out", str(len(sums))), **changes)
            write_recipe(folder("recipe.yml"), keys)
            run_embedded(folder("recipe.yml"), **options)
            sums[name] = sha256(os.path.join(keys["output_dir"], "adapter_model.safetensors"))
            print("%-24s %s" % (name, sums[name]), flush=True)
        write_recipe(folder("recipe.yml"), toy.recipe(folder, model))
        for name, run in (("worker killed", killed_worker), ("coordinator killed", killed_coordinator)):
            sums[name] = sha256(run(folder, folder("recipe.yml")))
            print("%-24s %s" % (name, sums[name]), flush=True)
        other = toy.recipe(folder, model, seed=12, output_dir=folder("other"))
        write_recipe(folder("recipe.yml"), other)
        run_embedded(folder("recipe.yml"))
        check(sha256(folder("other", "adapter_model.safetensors")) not in sums.values(),
              "another seed gave the same adapter: the comparison compares nothing")
        check(len(set(sums.values())) == 1, "different bits: %s" % sums)
        print("%d runs, one SHA-256" % len(sums))
    return 0


if __name__ == "__main__":
    sys.exit(main())
