#!/usr/bin/env python3
"""kill -9 of coordinator and workers at random moments: nothing acknowledged is lost.

Submits small jobs while a seeded hand kills processes, at least KILLS of them. In the end every
acknowledged job is done, all equal recipes gave equal bytes, no task was counted twice, every listed
checkpoint verifies.

    kills.py [KILLS [SEED]]
"""
import os
import random
import subprocess
import sys
import time

import toy
from fleet import BIN, Fleet, Scratch, check, sha256, write_recipe


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    hand = random.Random(seed)
    print("kills %d, seed %d" % (kills, seed))
    with Scratch("kills") as folder, Fleet(folder("fleet")) as fleet:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        write_recipe(folder("recipe.yml"), toy.recipe(folder, model))
        fleet.start_coordinator()
        for name in ("w0", "w1"):
            fleet.start_worker(name)
        jobs, done, killed = [], 0, {"coordinator": 0, "worker": 0}
        while done < kills:
            if len(jobs) < 2 + done // 5:
                reply = fleet.qctl("submit", folder("recipe.yml"), ok=False, timeout=60)
                if reply.returncode == 0:
                    jobs.append(reply.stdout.strip())
            time.sleep(hand.uniform(0.02, 0.9))
            if hand.random() < 0.4:
                fleet.kill_coordinator()
                killed["coordinator"] += 1
                if hand.random() < 0.3:
                    time.sleep(hand.uniform(0.0, 0.5))
                fleet.start_coordinator()
            else:
                name = hand.choice(sorted(fleet.workers))
                fleet.kill_worker(name)
                killed["worker"] += 1
                fleet.start_worker("w%d" % (done + 2))
            done += 1
        print("%d jobs acknowledged, killed %s" % (len(jobs), killed))
        verify(fleet, folder, jobs)
    return 0


def verify(fleet, folder, jobs):
    check(len(set(jobs)) == len(jobs), "two submissions got one id")
    sums = set()
    checkpoints = 0
    for job in jobs:
        fleet.wait(job)
        shown = fleet.json("show", job)
        check(shown["row"]["state"] == "ok", "job %s ended as %s" % (job, shown["row"]["state"]))
        steps = [p["step"] for p in shown["points"] if not p["is_eval"]]
        check(steps == sorted(set(steps)), "a step was counted twice: %s" % steps)
        done = [e["text"].split(" by ")[0] for e in fleet.json_lines("logs", job) if " done by " in e["text"]]
        check(done and len(done) == len(set(done)), "a task's result was counted twice: %s" % sorted(done))
        check(steps and steps[-1] == 20, "job %s made %s steps" % (job, steps[-1:]))
        fleet.qctl("pull", job, folder("pull", job))
        sums.add(sha256(folder("pull", job, "adapter_model.safetensors")))
        listed = fleet.json("ckpt", "log", job)
        check(listed and listed[0]["step"] == 20, "job %s lists %d checkpoints" % (job, len(listed)))
        for row in listed:
            fleet.qctl("ckpt", "verify", row["digest"])
            checkpoints += 1
    check(len(sums) == 1, "equal recipes gave %d different adapters" % len(sums))
    print("%d jobs done with one SHA-256, %d checkpoints verified" % (len(jobs), checkpoints))


if __name__ == "__main__":
    sys.exit(main())
