#!/usr/bin/env python3
"""Memory before work: submit says what each stage needs and who has it, refuses what nobody has with the nearest change
that fits, which then does; `explain` says what waits for a larger worker, smaller jobs go on meanwhile, and a larger
worker ends the wait. A base for which no worker has room beside that is a notice. A worker that was killed at a task says so when it is
back, and so does the log of the job."""
import json
import os
import re
import struct
import sys
import time

import toy
from fleet import Fleet, Scratch, check, write, write_recipe
from same_bits import wait_for_points

ROWS = 256


def size(text):
    return float(text[:-1]) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]


def make_model(fleet, folder):
    """Large enough that what trains counts beside what a process takes."""
    toy.write_tokenizer(folder("empty"))
    write(folder("empty", "config.json"), json.dumps(dict(toy.CONFIG, hidden_size=192, intermediate_size=512, num_hidden_layers=3)))
    fleet.qctl("model", "create", "--config", folder("empty", "config.json"), "--tokenizer", folder("empty"), folder("model"))
    return folder("model")


def full(folder, model, **changes):
    keys = toy.recipe(folder, model, max_steps=1, warmup_steps=0, eval_steps=0, sequence_len=ROWS, **changes)
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


def check_stages(fleet, folder, model):
    """Every stage that a job has is estimated, and no other; but for those that stay within the process."""
    texts = {"calibration_datasets": [{"path": folder("text.txt")}], "test_datasets": [{"path": folder("text.txt")}]}
    trains = toy.recipe(folder, model, max_steps=1, warmup_steps=0)
    for keys in (trains,
                 dict(trains, evaluate="none"),
                 dict(trains, merge="full"),
                 dict(trains, merge="full", quantize="Q4_K_M"),
                 {"quantize": "Q4_K_M", **texts},
                 {"quantize": {"scheme": "W4A16", "group_size": 64, "method": "gptq"}, **texts},
                 {"quantize": "NF4"},
                 {"quantize": {"target_bpw": 5}, **texts},
                 {"evaluate": "only", "test_datasets": texts["test_datasets"]}):
        write_recipe(folder("stages.yml"), dict({"base_model": model, "sequence_len": 64, "name": "stages"}, **keys))
        said = fleet.qctl("submit", folder("stages.yml"), "--dry-run").stderr
        estimated = {line.split()[0] for line in said.splitlines() if re.search(r" of \d+ workers", line)}
        job = fleet.submit(folder("stages.yml"))
        stages = {row["name"].split("[")[0] for row in fleet.json("graph", job)} - {"prepare", "pack", "report"}
        check(estimated == stages, "%s\nhas the stages %s, of which are estimated %s" % (keys, sorted(stages), sorted(estimated)))
        fleet.qctl("cancel", job)


def check_notice(fleet, recipe, needed):
    """A worker that has what a task takes, but no room for the base beside it."""
    fleet.start_worker("tight", extra=("--memory", str(needed + (3 << 19))))
    wait_until("a worker", lambda: fleet.json("workers"))
    said = fleet.qctl("submit", recipe, "--dry-run").stderr
    check("of the base are mapped from its files" in said and "load_in_4bit: true needs" in said, said)
    print(said.splitlines()[-1])
    tight = fleet.workers.pop("tight")
    tight.terminate()
    tight.wait()


def freezes_at_work(fleet, name):
    """It stands still with a task of a job in its hands, by its file of life; else it goes on."""
    fleet.freeze_worker(name)
    with open(os.path.join(fleet.folder, "cache-" + name, "life-" + name), "rb") as file:
        _, job = struct.unpack("<QQ", file.read(16))
    if job == 0:
        fleet.thaw_worker(name)
    return job != 0


def check_killed(fleet, folder, model):
    """One process of a name dies at its task; the next one tells."""
    write_recipe(folder("long.yml"), toy.recipe(folder, model, name="long", max_steps=4000, eval_steps=0))
    job = fleet.submit(folder("long.yml"))
    wait_for_points(fleet, job, 1)  # from here on all tasks are of training
    wait_until("a task at work", lambda: freezes_at_work(fleet, "large"))
    fleet.kill_worker("large")
    fleet.start_worker("large", threads=1)
    def ends():
        return [row["detail"] for row in fleet.json("workers") if row["name"] == "large" and "was killed" in row["detail"]]
    wait_until("words of the killed process", ends)
    check("stage train of job %s" % job[:7] in ends()[0], ends()[0])
    check("worker large: its process before was killed" in fleet.qctl("logs", job).stdout, "its job's log does not say so")
    print(ends()[0])
    fleet.qctl("cancel", job)


def main():
    with Scratch("memory") as folder, Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        model = make_model(fleet, folder)
        toy.write_rows(folder("train.jsonl"), 60, 1)
        toy.write_rows(folder("test.jsonl"), 8, 2)
        write(folder("text.txt"), "a = b; " * 2000)
        check_stages(fleet, folder, model)
        write_recipe(folder("full.yml"), full(folder, model, name="full"))
        write_recipe(folder("lora.yml"), toy.recipe(folder, model, name="lora", max_steps=3, warmup_steps=0))
        bytes_needed, _ = needs(fleet, folder("full.yml"))
        limit = int(bytes_needed * 0.9)
        check(needs(fleet, folder("lora.yml"))[0] < limit, "the LoRA is too large for this test")
        check_notice(fleet, folder("lora.yml"), int(needs(fleet, folder("lora.yml"))[0]))
        fleet.start_worker("small", extra=("--memory", str(limit)))
        wait_until("a worker", lambda: any(row["state"] == "ready" for row in fleet.json("workers")))
        line = needs(fleet, folder("lora.yml"))[1]
        check("1 of 1 workers: small" in line, line)
        refused = fleet.qctl("submit", folder("full.yml"), ok=False)
        check(refused.returncode == 5, "exit %d: %s" % (refused.returncode, refused.stderr))
        print(refused.stderr.strip())
        change = re.search(r"nearest change that fits: (\w+): (\w+)(?: with (\w+): (\w+))?", refused.stderr)
        check(change, "no change is named")
        check(not fleet.json("jobs", "--active"), "a refused job is there")
        words = [word for key, value in (change.groups()[:2], change.groups()[2:]) if key for word in ("--set", "%s=%s" % (key, value))]
        job = fleet.qctl("submit", folder("full.yml"), *words).stdout.strip()
        fleet.wait(job)
        waiting = fleet.qctl("submit", folder("full.yml"), "--anyway").stdout.strip()
        wait_until("training that waits", lambda: [row for row in fleet.json("explain", waiting) if row["reason"] == "memory"])
        print(fleet.qctl("explain", waiting).stdout)
        fleet.wait(fleet.submit(folder("lora.yml")))
        check(fleet.json("show", waiting)["row"]["ended_unix_ms"] == 0, "what waits ended")
        check("load_in_4bit" not in fleet.qctl("submit", folder("lora.yml"), "--dry-run").stderr, "a base that fits is complained of")
        fleet.start_worker("large")
        fleet.wait(waiting)
        check_killed(fleet, folder, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
