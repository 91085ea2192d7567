#!/usr/bin/env python3
"""tensorboard_check - TensorBoard's own reader sees the numbers that `qctl metrics` prints, tag by tag and step by step.

Exits 77, saying so, where Python has no tensorboard. QFLEET_PYTHON names the interpreter that has it (a virtual
environment's).
"""
import json
import os
import subprocess
import sys

import toy
from fleet import Fleet, Scratch, check, skip, write_recipe
from looking import event_file

STEPS, EVALS = 8, 4
TAGS = {"train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "train/tokens_per_second",
        "eval/loss", "eval/perplexity"}

READER = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"""


def check_tensorboard(python, path, points):
    seen = json.loads(subprocess.run([python, "-c", READER, path], capture_output=True, text=True, check=True).stdout)
    check(set(seen) == TAGS, "TensorBoard sees the tags %s" % sorted(seen))
    for tag, is_eval in (("train/loss", False), ("eval/loss", True)):
        ours = [[p["step"], p["loss"]] for p in points if p["is_eval"] == is_eval]
        check([row[0] for row in ours] == [row[0] for row in seen[tag]], tag + ": other steps")
        check(all(abs(a[1] - b[1]) < 1e-6 * abs(a[1]) for a, b in zip(ours, seen[tag])), tag + ": other values")
    print("TensorBoard's reader: %d tags, %d points" % (len(seen), sum(len(rows) for rows in seen.values())))


def main():
    python = os.environ.get("QFLEET_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import tensorboard"], capture_output=True, check=False).returncode != 0:
        skip("%s has no tensorboard (pip install tensorboard)" % python)
    with Scratch("tensorboard") as folder, Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a")
        model = toy.make_model(fleet.qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 120, 1)
        toy.write_rows(folder("test.jsonl"), 16, 2)
        write_recipe(folder("demo.yml"), toy.recipe(folder, model, max_steps=STEPS, eval_steps=EVALS))
        job = fleet.submit(folder("demo.yml"))
        fleet.wait(job)
        fleet.qctl("metrics", job, "--tensorboard", folder("events"))
        check_tensorboard(python, os.path.dirname(event_file(folder("events"))), fleet.json("metrics", job))
    return 0


if __name__ == "__main__":
    sys.exit(main())
