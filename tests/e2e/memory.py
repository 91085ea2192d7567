#!/usr/bin/env python3
"""Memory before work: submit says what each stage needs and who has it, refuses what nobody has with the nearest change
that fits, which then does; `explain` says what waits for a larger worker, smaller jobs go on meanwhile, and a larger
worker ends the wait. A worker that was killed at a task says so when it is back."""
import os
import re
import sys
import time

import toy
from fleet import Fleet, Scratch, check, write_recipe
from same_bits import wait_for_points

ROWS = 256


def size(text):
    return float(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]


def full(folder, model, **changes):
    keys = toy.recipe(folder, model, max_steps=3, warmup_steps=0, sequence_len=ROWS, **changes)
    return {key: value for key, value in keys.items() if not key.startswith("lora") and key != "adapter"}


def needs(fleet, recipe):
    """Bytes of training, and the line that says so."""
    said = fleet.qctl("submit", recipe, "--dry-run").stderr
    line = [line for line in said.splitlines() if line.startswith("train ")][0]
    return size(line.split()[1]), line


def wait_until(what, condition):
    end = time.monotonic() + 60
    while not condition():
        check(time.monotonic() < end, "never: " + what)
        time.sleep(0.05)


def check_killed(fleet, folder, model):
    """One process of a name dies at its task; the next one tells."""
    write_recipe(folder("long.yml"), toy.recipe(folder, model, name="long", max_steps=4000))
    job = fleet.submit(folder("long.yml"))
    wait_for_points(fleet, job, 1)
    wait_until("a task at work", lambda: any(row["task"] for row in fleet.json("workers") if row["name"] == "large"))
    fleet.kill_worker("large")
    fleet.start_worker("large", threads=1)
    def ends():
        return [row["detail"] for row in fleet.json("workers") if row["name"] == "large" and "was killed" in row["detail"]]
    wait_until("words of the killed process", ends)
    check("stage train of job %s" % job[:7] in ends()[0], ends()[0])
    print(ends()[0])
    fleet.qctl("cancel", job)


def main():
    with Scratch("memory") as folder, Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        model = toy.make_model(fleet.qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 60, 1)
        toy.write_rows(folder("test.jsonl"), 8, 2)
        write_recipe(folder("full.yml"), full(folder, model, name="full"))
        write_recipe(folder("lora.yml"), toy.recipe(folder, model, name="lora", max_steps=3, warmup_steps=0))
        bytes_needed, _ = needs(fleet, folder("full.yml"))
        limit = int(bytes_needed * 0.8)
        check(needs(fleet, folder("lora.yml"))[0] < limit, "the LoRA is too large for this test")
        fleet.start_worker("small", extra=("--memory", str(limit)))
        wait_until("a worker", lambda: fleet.json("workers"))
        line = needs(fleet, folder("lora.yml"))[1]
        check("1 of 1 workers: small" in line, line)
        refused = fleet.qctl("submit", folder("full.yml"), ok=False)
        check(refused.returncode == 5, "exit %d: %s" % (refused.returncode, refused.stderr))
        print(refused.stderr.strip())
        change = re.search(r"nearest change that fits: (\w+): (\w+)(?: with (\w+): (\w+))?", refused.stderr)
        check(change, "no change is named")
        check(not fleet.json("jobs"), "a refused job is there")
        words = [word for key, value in (change.groups()[:2], change.groups()[2:]) if key for word in ("--set", "%s=%s" % (key, value))]
        job = fleet.qctl("submit", folder("full.yml"), *words).stdout.strip()
        fleet.wait(job)
        waiting = fleet.qctl("submit", folder("full.yml"), "--anyway").stdout.strip()
        wait_until("training that waits", lambda: [row for row in fleet.json("explain", waiting) if row["reason"] == "memory"])
        print(fleet.qctl("explain", waiting).stdout)
        fleet.wait(fleet.submit(folder("lora.yml")))
        check(fleet.json("show", waiting)["row"]["ended_unix_ms"] == 0, "what waits ended")
        fleet.start_worker("large")
        fleet.wait(waiting)
        check_killed(fleet, folder, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
