#!/usr/bin/env python3
"""What a disk loses is made again: a damaged checkpoint falls back to its parent and gives the same bits,
a damaged result is named by `pull` and made by `retry`, a data file that changed fails the job by its name."""
import os
import subprocess
import sys
import time

import toy
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, sha256, write_recipe
from same_bits import wait_for_points


def flip(path):
    """Another byte in the middle, the same size."""
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x20]))


def artifact(fleet, digest):
    return os.path.join(fleet.data, "artifacts", digest[:2], digest[2:])


def events(fleet, job):
    return [row["text"] for row in fleet.json_lines("logs", job)]


def killed_in_training(fleet, folder):
    """A job of ten steps or more that is not over, in a coordinator that was killed and started again without a worker:
    no checkpoint joins those that it lists. A job that was over by then is no use, and the next one is submitted."""
    end = time.monotonic() + DEADLINE_S
    while True:
        fleet.start_worker("a")
        job = fleet.submit(folder("recipe.yml"))
        wait_for_points(fleet, job, 10)
        fleet.kill_coordinator()
        fleet.kill_worker("a")
        fleet.start_coordinator()
        state = fleet.json("show", job)["row"]["state"]
        if state == "run":
            return job
        check(state == "ok", "after the kill the job is in the state " + state)
        check(time.monotonic() < end, "every job was over before the coordinator was killed")


def checkpoint(fleet, folder):
    """Two checkpoints are damaged while nobody runs; returns the job, which ended as if nothing happened."""
    job = killed_in_training(fleet, folder)
    rows = fleet.json("ckpt", "log", job)
    check(len(rows) >= 2 and rows[0]["step"] > rows[1]["step"], "two checkpoints, newest first")
    fleet.kill_coordinator()
    flip(artifact(fleet, rows[0]["digest"]))
    os.unlink(artifact(fleet, rows[1]["digest"]))
    fleet.start_coordinator()
    fleet.start_worker("b")
    fleet.wait(job)
    texts = events(fleet, job)
    for row in rows[:2]:
        check(any("checkpoint %s after step %d is lost, training goes back" % (row["digest"][:12], row["step"]) in t
                  for t in texts), "no event tells of the loss: %s" % texts)
    again = fleet.submit(folder("recipe.yml"))
    fleet.wait(again)
    sums = set()
    for name in (job, again):
        fleet.qctl("pull", name, folder("pull", name))
        sums.add(sha256(folder("pull", name, "adapter_model.safetensors")))
    check(len(sums) == 1, "the damaged run and the sound one differ")
    return job


def result(fleet, folder, job):
    outputs = {row["name"]: row["digest"] for row in fleet.json("show", job)["outputs"]}
    flip(artifact(fleet, outputs["adapter_model.safetensors"]))
    failed = fleet.qctl("pull", job, folder("damaged"), ok=False)
    check(failed.returncode == 8 and "qctl retry" in failed.stderr,
          "pull of a damaged result: exit %d, %s" % (failed.returncode, failed.stderr))
    fleet.qctl("retry", job)
    end = time.monotonic() + DEADLINE_S
    while fleet.qctl("pull", job, folder("mended"), ok=False).returncode != 0:
        check(time.monotonic() < end, "the result is not made again")
        time.sleep(0.2)
    check(sha256(folder("mended", "adapter_model.safetensors"))
          == sha256(folder("pull", job, "adapter_model.safetensors")), "made again, it differs")


def changed_file(fleet, folder):
    """The job fails by the file's name, and goes on when the file is back."""
    fleet.kill_worker("b")
    keys = toy.recipe(folder, folder("model"), max_steps=2)
    keys["datasets"][0]["path"] = folder("changing.jsonl")
    toy.write_rows(folder("changing.jsonl"), 90, 3)
    write_recipe(folder("changing.yml"), keys)
    job = fleet.submit(folder("changing.yml"))
    before = open(folder("changing.jsonl"), "rb").read()
    flip(folder("changing.jsonl"))
    fleet.start_worker("c")
    failed = fleet.qctl("wait", job, ok=False)
    check(failed.returncode == 8, "the job ended with exit code %d" % failed.returncode)
    row = fleet.json("show", job)["row"]
    check(folder("changing.jsonl") + " changed since the job was submitted" in row["detail"], row["detail"])
    with open(folder("changing.jsonl"), "wb") as out:
        out.write(before)
    fleet.qctl("retry", job)
    fleet.wait(job)


def main():
    with Scratch("damage") as folder, Fleet(folder("fleet")) as fleet:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        write_recipe(folder("recipe.yml"), toy.recipe(folder, model))
        fleet.start_coordinator()
        job = checkpoint(fleet, folder)
        result(fleet, folder, job)
        changed_file(fleet, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
