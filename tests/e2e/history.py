#!/usr/bin/env python3
"""The history of a job's checkpoints. A run that is interrupted and sent back five times gives the bits of the straight
run; `forget --prune` frees what it says, also when the coordinator is killed on the way; `verify` finds a flipped bit and
names the tensor; a fork with equal keys gives equal bits, with another rate others; what cannot be is refused by name."""
import os
import subprocess
import sys
import time

import toy
from damage import artifact
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, sha256, write_recipe

INTERRUPTIONS = 5
STEPS = 24


def wait_for_step(fleet, job, step):
    """Until a checkpoint of at least this step is on the list."""
    end = time.monotonic() + DEADLINE_S
    while not any(row["step"] >= step and not row["undone"] for row in fleet.json("ckpt", "log", job)):
        check(time.monotonic() < end, "no checkpoint of step %d" % step)
        time.sleep(0.05)


def results(fleet, folder, job, name):
    fleet.qctl("pull", job, folder(name))
    return {file: sha256(folder(name, file)) for file in ("adapter_model.safetensors", "trainer_state.json")}


def states(fleet, job):
    return {row["step"]: row["digest"] for row in fleet.json("ckpt", "log", job)}


def stored(fleet):
    """Bytes of the durable artifacts."""
    total = 0
    for base, _, files in os.walk(os.path.join(fleet.data, "artifacts")):
        total += sum(os.path.getsize(os.path.join(base, name)) for name in files)
    return total


def sent_back(fleet, folder, straight):
    """Killed, restarted and restored to an earlier checkpoint, five times, twice while it runs."""
    job = fleet.submit(folder("again.yml"))
    for number in range(INTERRUPTIONS):
        wait_for_step(fleet, job, min(4 * (number + 2), STEPS - 4))
        if number % 2 == 0:
            fleet.kill_worker("a")
            fleet.kill_coordinator()
            fleet.start_coordinator()
            fleet.start_worker("a")
        rows = [row for row in fleet.json("ckpt", "log", job) if not row["undone"]]
        target = rows[min(1 + number % 2, len(rows) - 1)]
        fleet.qctl("ckpt", "restore", job, target["digest"], "--reason", "number %d" % number)
        if number % 2 == 1:
            fleet.kill_coordinator()
            fleet.start_coordinator()
    fleet.wait(job)
    check(states(fleet, job) == states(fleet, straight), "the checkpoints differ from the straight run's")
    check(results(fleet, folder, job, "again") == results(fleet, folder, straight, "straight"), "the results differ")
    check(fleet.json("show", job)["point_count"] == fleet.json("show", straight)["point_count"], "points are missing")
    restored = [row for row in fleet.json_lines("logs", job) if "goes on from checkpoint" in row["text"]]
    check(len(restored) >= INTERRUPTIONS, "the log tells of %d of %d restores" % (len(restored), INTERRUPTIONS))
    print("sent back %d times, the same %d checkpoints and results" % (len(restored), len(states(fleet, job))))
    return job


def forward(fleet, job):
    """A mistake is taken back: to the first, and forward again before it is made again."""
    before = states(fleet, job)
    last = max(before)
    fleet.kill_worker("a")
    fleet.kill_worker("b")
    fleet.qctl("ckpt", "restore", job, min(before))
    undone = {row["step"] for row in fleet.json("ckpt", "log", job) if row["undone"]}
    check(undone == set(before) - {min(before)}, "undone are the steps %s" % sorted(undone))
    fleet.qctl("ckpt", "restore", job, last)
    check(not any(row["undone"] for row in fleet.json("ckpt", "log", job)), "some are still undone")
    fleet.start_worker("a")
    fleet.start_worker("b")
    fleet.wait(job)
    check(states(fleet, job) == before, "the list is another one")


def refusals(fleet, folder, job, other):
    """Each with its exit code and its names."""
    digest = states(fleet, job)
    write_recipe(folder("wide.yml"), toy.recipe(folder, folder("model"), max_steps=2, lora_r=8, name="wide"))
    wide = fleet.submit(folder("wide.yml"))
    model = toy.make_model(fleet.qctl, folder.path, "twin", seed=8)  # of the same shapes: its weights alone are others
    write_recipe(folder("twin.yml"), toy.recipe(folder, model, max_steps=2, name="twin"))
    twin = fleet.submit(folder("twin.yml"))
    fleet.wait(wide)
    fleet.wait(twin)
    for words, code, parts in (
            (["restore", job, "0000000"], 4, ["0000000"]),
            (["restore", wide, digest[8]], 1, [digest[8][:7], "job again", "not go into wide", "model", "fork"]),
            (["restore", twin, digest[8]], 1, [digest[8][:7], 'of "%s"' % folder("model"), 'of "%s"' % model, "fork"]),
            (["restore", job, str(STEPS)], 1, ["last checkpoint"]),
            (["forget", job], 2, ["--keep-last 3"]),
            (["forget", job + "@latest"], 1, ["latest"]),
            (["tag", job + "@8", "latest"], 2, ["latest"]),
            (["tag", job + "@8", "not plain"], 2, ["letters"]),
            (["tag", job + "@8", "12"], 2, ["number"]),
            (["tag", job + "@8", "x" * 10000], 2, ["256 bytes"]),
            (["restore", job, "nosuch"], 4, [job + "@nosuch", "ckpt log"]),
            (["restore", "nosuch", "latest"], 4, ["no job or checkpoint is named nosuch"]),
            (["fork", job + "@8", "--set", "lora_r=8"], 3, ["lora_r"]),
            (["fork", job + "@8", "--set", "base_model=elsewhere"], 3, ["base_model"]),
            (["show", "ffffffff"], 4, ["no job or checkpoint is named ffffffff"]),
            (["diff", job + "@8", job + "@9"], 4, ["@9"])):
        failed = fleet.qctl("ckpt", *words, ok=False)
        check(failed.returncode == code, "ckpt %s: exit %d, %s" % (" ".join(words), failed.returncode, failed.stderr))
        for part in parts:
            check(part in failed.stderr, "ckpt %s says %s" % (" ".join(words), failed.stderr))
    check(states(fleet, other) == digest, "a refusal changed something")


def flipped(fleet, job):
    """One bit of one tensor of one checkpoint."""
    victim = states(fleet, job)[8]
    path = artifact(fleet, victim)
    with open(path, "r+b") as file:
        content = file.read()
        file.seek(len(content) - 1)
        file.write(bytes([content[-1] ^ 1]))
    failed = fleet.qctl("ckpt", "verify", job, ok=False)
    lines = {line.split()[1]: line for line in failed.stdout.splitlines()}
    check(failed.returncode == 8, "verify ended with %d" % failed.returncode)
    check(lines[victim[:7]].startswith("FAIL") and "1 of" in lines[victim[:7]] and "weight." in lines[victim[:7]],
          lines[victim[:7]])
    check(sum(line.startswith("ok") for line in lines.values()) == len(lines) - 1, failed.stdout)
    checks = {row["row"]["digest"]: row["sound"] for row in fleet.json_checks(job)}
    check([digest for digest, sound in checks.items() if not sound] == [victim], "as JSON: %s" % checks)
    with open(path, "r+b") as file:
        file.write(content)
    fleet.qctl("ckpt", "verify", victim)
    print("a flipped bit: " + lines[victim[:7]])


def forgotten(fleet, job, other):
    """`other` has the same states, so it goes first and frees its ledgers alone."""
    fleet.qctl("ckpt", "tag", job + "@8", "good")
    fleet.qctl("ckpt", "prune")
    for name in (other, job):
        before = stored(fleet)
        dry = fleet.json("ckpt", "forget", name, "--keep-last", "3", "--dry-run")
        kept = {v["row"]["step"]: v["why"] for v in dry["verdicts"] if not v["forgotten"]}
        check(stored(fleet) == before and len(states(fleet, name)) == len(dry["verdicts"]), "a dry run changed something")
        done = fleet.json("ckpt", "forget", name, "--keep-last", "3", "--prune")
        freed = before - stored(fleet)
        check(freed == done["bytes"] == dry["bytes"] > 0,
              "%d bytes were freed, said were %d, and %d before" % (freed, done["bytes"], dry["bytes"]))
        check(set(states(fleet, name)) == set(kept), "kept are %s" % states(fleet, name))
        print("forget %s: kept %s, %d bytes freed as said" % (name[:7], kept, freed))
    check("tag" in kept[8] and "latest" in kept[STEPS] and any("best" in why for why in kept.values()), str(kept))
    fleet.qctl("ckpt", "verify", job)
    fleet.qctl("ckpt", "verify", other)


def killed_while_forgetting(fleet, folder):
    """The coordinator dies right after each step; what is on the list is there and sound."""
    job = fleet.submit(folder("more.yml"))
    wait_for_step(fleet, job, 8)
    for words in (["ckpt", "forget", job, "--keep-last", "1"], ["ckpt", "prune"], ["ckpt", "restore", job, "latest"]):
        asked = subprocess.Popen([os.path.join(BIN, "qctl"), *words], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=dict(os.environ, QFLEET_COORDINATOR=fleet.endpoint))
        time.sleep(0.02)
        fleet.kill_coordinator()
        fleet.start_coordinator()
        asked.kill()
        asked.wait()
        for row in fleet.json("ckpt", "log", job):
            fleet.qctl("ckpt", "verify", row["digest"])
    fleet.wait(job)
    return job


def forks(fleet, folder, job):
    """From step 8: with equal keys the end is the job's, with another rate it is not."""
    same = fleet.qctl("ckpt", "fork", job + "@good").stdout.strip()
    other = fleet.qctl("ckpt", "fork", job + "@good", "--set", "learning_rate=1e-2", "--name", "hot").stdout.strip()
    fleet.wait(same)
    fleet.wait(other)
    whole = results(fleet, folder, job, "whole")
    check(results(fleet, folder, same, "same")["adapter_model.safetensors"] == whole["adapter_model.safetensors"],
          "a fork without a change ends elsewhere")
    check(results(fleet, folder, other, "hot")["adapter_model.safetensors"] != whole["adapter_model.safetensors"],
          "another rate changes nothing")
    check(min(states(fleet, same)) > 8, "a fork has checkpoints from before it: %s" % states(fleet, same))
    view = fleet.json("ckpt", "show", same)
    check(any(row["digest"] == states(fleet, job)[8] and row["job"] == job for row in view["lineage"]),
          "the lineage does not reach the first job")
    check(sum(work["rows"] for work in view["workers"]) == 12 * 4, "the ledger names other rows: %s" % view["workers"])
    diff = fleet.json("ckpt", "diff", job + "@latest", other)
    keys = {row["name"]: (row["before"], row["after"]) for row in diff["recipe"]}
    check(keys == {"learning_rate": ("0.002", "0.01")}, "diff says %s" % keys)
    check(diff["modules"] and all(row["change"] > 0 for row in diff["modules"]), "no module moved")
    text = fleet.qctl("ckpt", "diff", job + "@latest", same).stdout
    check("weights    the same" in text, text)


def limited(fleet, folder):
    """save_total_limit keeps that many, and the best; the rest is off the disk when the job is done."""
    keys = toy.recipe(folder, folder("model"), max_steps=20, save_steps=2, save_total_limit=2, seed=5, name="limited")
    write_recipe(folder("limited.yml"), keys)
    job = fleet.submit(folder("limited.yml"))
    fleet.wait(job)
    rows = fleet.json("ckpt", "log", job)
    steps = [row["step"] for row in rows]
    check(steps[:2] == [20, 18] and len(steps) <= 3, "kept are %s" % steps)
    gone = [row["text"] for row in fleet.json_lines("logs", job) if "save_total_limit" in row["text"]]
    check(gone, "the log does not tell")
    check(fleet.json("ckpt", "prune", "--dry-run")["files"] == 0, "something is left to prune")


def room(fleet, folder):
    """Where the disk will not hold its checkpoints, a job waits before its first step, and says what would fit."""
    keys = toy.recipe(folder, folder("model"), max_steps=10 ** 10, save_steps=1, name="room")
    write_recipe(folder("room.yml"), keys)
    job = fleet.submit(folder("room.yml"))
    end = time.monotonic() + DEADLINE_S
    while "no room for its checkpoints: 10000000000 of 0.1 MiB each" not in fleet.qctl("jobs").stdout:
        check(time.monotonic() < end, fleet.qctl("jobs").stdout)
        time.sleep(0.1)
    why = fleet.qctl("explain", job).stdout
    check("save_total_limit" in why and "free space" in why, why)
    check(fleet.json("show", job)["point_count"] == 0 and not states(fleet, job), "it trained")
    fleet.qctl("cancel", job)
    write_recipe(folder("room.yml"), dict(keys, save_total_limit=2, max_steps=10 ** 6, name="fits"))
    job = fleet.submit(folder("room.yml"))
    wait_for_step(fleet, job, 4)
    fleet.qctl("cancel", job)


def variants(fleet, folder):
    """Each variant's training has its own latest, best and tags; a fork of one goes on as that one."""
    write_recipe(folder("list.yml"), toy.recipe(folder, folder("model"), max_steps=8, save_steps=2, eval_steps=2, name="list",
                                                learning_rate=[2e-3, 5e-4]))
    job = fleet.submit(folder("list.yml"))
    fleet.wait(job)
    rows = fleet.json("ckpt", "log", job)
    stages = sorted({row["stage"] for row in rows})
    check(len(stages) == 2 and len(rows) == 8, "checkpoints of %s" % stages)
    failed = fleet.qctl("ckpt", "show", job + "@4", ok=False)
    check(failed.returncode == 4 and "more than one" in failed.stderr, "a step of two trainings: " + failed.stderr)
    second = {row["step"]: row["digest"] for row in rows if row["stage"] == stages[1]}
    fleet.qctl("ckpt", "forget", job, "--keep-last", "1", "--keep-every", "4", "--prune")
    kept = [(row["stage"], row["step"]) for row in fleet.json("ckpt", "log", job)]
    check({(stage, step) for stage in stages for step in (4, 8)} <= set(kept), "kept are %s" % kept)
    fork = fleet.qctl("ckpt", "fork", second[4]).stdout.strip()
    fleet.wait(fork)
    check(states(fleet, fork)[8] == second[8], "a fork of a variant ends as another")
    fleet.qctl("ckpt", "restore", job, second[4])
    fleet.wait(job)
    check({row["digest"] for row in fleet.json("ckpt", "log", job)} >= {second[8]}, "restored, a variant ends elsewhere")


class History(Fleet):
    def json_checks(self, job):
        """`verify -o json`, which ends with 8 when something is damaged."""
        import json
        return json.loads(self.qctl("ckpt", "verify", job, "-o", "json", ok=False).stdout)


def main():
    with Scratch("history") as folder, History(folder("fleet")) as fleet:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        for name in ("straight", "again", "more"):
            write_recipe(folder(name + ".yml"), toy.recipe(folder, model, max_steps=STEPS, save_steps=4, name=name))
        fleet.start_coordinator()
        fleet.start_worker("a")
        fleet.start_worker("b")
        straight = fleet.submit(folder("straight.yml"))
        fleet.wait(straight)
        job = sent_back(fleet, folder, straight)
        forward(fleet, job)
        refusals(fleet, folder, job, straight)
        flipped(fleet, job)
        forgotten(fleet, job, straight)
        forks(fleet, folder, job)
        killed_while_forgetting(fleet, folder)
        limited(fleet, folder)
        room(fleet, folder)
        variants(fleet, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
