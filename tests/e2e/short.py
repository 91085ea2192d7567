#!/usr/bin/env python3
"""A short run with everything in it, quick enough for the sanitizers: a job of a few steps on a
coordinator and two workers, one of them killed, the coordinator killed and restarted, the result
pulled, checkpoints verified; then the same recipe embedded, with equal bytes."""
import os
import subprocess
import sys

import toy
from fleet import BIN, Fleet, Scratch, check, run_embedded, sha256, write_recipe
from same_bits import wait_for_points

STEPS = 6


def main():
    with Scratch("short") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 60, 1)
        toy.write_rows(folder("test.jsonl"), 8, 2)
        keys = toy.recipe(folder, model, max_steps=STEPS, save_steps=2, eval_steps=3)
        write_recipe(folder("recipe.yml"), keys)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            fleet.start_worker("a", threads=2)
            fleet.start_worker("b")
            job = fleet.submit(folder("recipe.yml"))
            wait_for_points(fleet, job, 1)
            fleet.kill_worker("b")
            fleet.kill_coordinator()
            fleet.start_coordinator()
            fleet.start_worker("c")
            fleet.wait(job)
            fleet.qctl("pull", job, folder("pulled"))
            for row in fleet.json("ckpt", "log", job):
                fleet.qctl("ckpt", "verify", row["digest"])
            for words in (["jobs"], ["show", job], ["graph", job], ["workers"], ["logs", job], ["ckpt", "log", job]):
                check(fleet.qctl(*words).stdout.strip(), "qctl %s printed nothing" % " ".join(words))
        run_embedded(folder("recipe.yml"), workers=2)
        ours = sha256(folder("pulled", "adapter_model.safetensors"))
        check(ours == sha256(os.path.join(keys["output_dir"], "adapter_model.safetensors")),
              "the fleet and the embedded run differ")
        print("one SHA-256: " + ours)
    return 0


if __name__ == "__main__":
    sys.exit(main())
