#!/usr/bin/env python3
"""Workers by the work there is: nobody without a job, more for wide stages, none for what waits, nobody after it.

The job's bits are those of one worker. A program that cannot be started pauses its provider, which says why;
a file read again ends that. What cannot be asked for is refused with its exit code.
"""
import json
import os
import signal
import sys
import time

import toy
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, run_embedded, sha256, write, write_recipe

REST_S = 2  # after a first failed start


def providers_file(path, **changes):
    row = {"name": "here", "kind": "local", "max": 3, "threads": 1, "idle_timeout": "2s"}
    row.update(changes)
    write(path, json.dumps({"providers": [row]}) + "\n")


def row_of(fleet):
    rows = fleet.json("workers", "providers")
    check(len(rows) == 1, "one provider is expected: %s" % rows)
    return rows[0]


def wait_until(what, condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, "after %d s still not: %s" % (seconds, what))
        time.sleep(0.05)


def is_empty(fleet):
    """A worker that was told to go counts as leaving until it is gone."""
    row = row_of(fleet)
    return row["running"] + row["leaving"] == 0


def counts(fleet, seen):
    """Keeps the most workers that were there at once."""
    row = row_of(fleet)
    seen["most"] = max(seen.get("most", 0), row["running"])
    check(row["running"] + row["waiting"] + row["leaving"] <= row["max"], "more than max: %s" % row)
    return row


def scales_by_work(fleet, recipe, folder):
    check(row_of(fleet)["running"] + row_of(fleet)["waiting"] == 0, "workers without a job")
    time.sleep(2)
    check(row_of(fleet)["running"] + row_of(fleet)["waiting"] == 0, "workers without a job")
    job, seen = fleet.submit(recipe), {}
    while fleet.json("show", job)["row"]["state"] in ("wait", "run"):
        counts(fleet, seen)
        time.sleep(0.1)
    check(fleet.json("show", job)["row"]["state"] == "ok", "the job ended otherwise")
    check(seen["most"] == 3, "a round of 12 rows had work for 3 workers, %(most)d were seen" % seen)
    wait_until("nobody is kept for work that is done", lambda: is_empty(fleet))
    wait_until("all workers left", lambda: {worker["state"] for worker in fleet.json("workers")} == {"left"})
    fleet.qctl("pull", job, folder("auto"))
    print("0 -> %(most)d -> 0 workers by the work" % seen)
    return sha256(folder("auto", "adapter_model.safetensors"))


def refusals(fleet):
    for arguments, code, words in (
            (("scale", "4"), 2, "at most 3"), (("scale", "some"), 2, "auto or MIN..MAX"),
            (("scale", "3..1"), 2, "3..1"), (("scale", "1", "--provider", "there"), 4, "here")):
        done = fleet.qctl("workers", *arguments, ok=False)
        check(done.returncode == code and words in done.stderr, "%s: %d %s" % (arguments, done.returncode, done.stderr))
    check(row_of(fleet)["is_auto"], "a refused request changed something")
    print("4 requests refused")


def dry_run(fleet):
    lines = fleet.json("workers", "scale", "2", "--dry-run")
    check([(line["action"], line["count"]) for line in lines] == [("start", 2)], "dry run: %s" % lines)
    check("qfleet-worker" in lines[0]["detail"], "the command is not shown: %s" % lines)
    row = row_of(fleet)
    check(row["is_auto"] and row["running"] + row["waiting"] == 0, "a dry run did something: %s" % row)
    print("dry run: " + lines[0]["detail"])


def scale_in_vain(fleet):
    """What is said when the worker ends at once. Whoever looks later than the rest after a failed start finds the next
    one begun, or its end: that tells nothing, and the command, which begins anew, is given again."""
    end = time.monotonic() + DEADLINE_S
    while True:
        begun = time.monotonic()
        done = fleet.qctl("workers", "scale", "1", "--timeout", "60s", ok=False)
        if time.monotonic() - begun < REST_S:
            return done
        check(time.monotonic() < end, "a failed start is told of late: %s" % done)


def pauses(fleet, file):
    providers_file(file, program="/bin/false", max=2)
    fleet.coordinator.send_signal(signal.SIGHUP)
    wait_until("the file with the program that ends at once", lambda: row_of(fleet)["max"] == 2)
    done = scale_in_vain(fleet)
    check(done.returncode == 7 and "here: exit code 1; the target stays" in done.stderr, "scale: %s" % done)
    wait_until("the provider pauses", lambda: row_of(fleet)["state"] == "paused")
    row = row_of(fleet)
    check("3 starts without a worker" in row["detail"], "it does not say why: %s" % row)
    time.sleep(2)
    check(row_of(fleet)["waiting"] == 0, "a paused provider starts workers")
    providers_file(file)
    fleet.coordinator.send_signal(signal.SIGHUP)
    wait_until("a worker after the file was mended", lambda: row_of(fleet)["running"] == 1)
    fleet.qctl("workers", "scale", "0")
    wait_until("nobody is left", lambda: is_empty(fleet))
    print("paused: " + row["detail"])


def wrong_file(fleet, file):
    """A file that cannot be read leaves things as they were."""
    write(file, "providers:\n  - {kind: lokal}\n")
    fleet.coordinator.send_signal(signal.SIGHUP)

    def is_said():
        with open(fleet.log.name, encoding="utf-8", errors="replace") as log:
            return "kind: expected one of local, ssh, slurm, kubernetes" in log.read()
    wait_until("words about what is wrong", is_said)
    check(row_of(fleet)["max"] == 3, "a wrong file was taken")
    print("a wrong file is refused")


def main():
    with Scratch("autoscale") as folder:
        def qctl(*words):
            check(os.spawnv(os.P_WAIT, os.path.join(BIN, "qctl"), ["qctl", *words]) == 0, " ".join(words))
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        write_recipe(folder("recipe.yml"), toy.recipe(folder, model, max_steps=200, save_steps=20, eval_steps=100,
                                                        output_dir=folder("alone")))
        run_embedded(folder("recipe.yml"))
        alone = sha256(folder("alone", "adapter_model.safetensors"))
        providers_file(folder("providers.yml"))
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator("--providers", folder("providers.yml"))
            dry_run(fleet)
            refusals(fleet)
            bits = scales_by_work(fleet, folder("recipe.yml"), folder)
            pauses(fleet, folder("providers.yml"))
            wrong_file(fleet, folder("providers.yml"))
        check(bits == alone, "different bits: %s, alone %s" % (bits, alone))
        print("the same bits as one worker: " + alone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
