#!/usr/bin/env python3
"""One recipe with lists, several adapters: each is the one that a recipe with its values alone gives, bit for bit,
with 1 and 3 workers, with a worker and the coordinator killed; `qctl` shows them as one group, the best marked."""
import itertools
import json
import os
import subprocess
import sys

import toy
from fleet import BIN, Fleet, Scratch, check, run_embedded, sha256, write_recipe
from same_bits import wait_for_points

LISTS = {"learning_rate": [2e-3, 5e-4], "lora_r": [4, 2], "seed": [11, 12]}
NUMBERS = {2e-3: "0.002", 5e-4: "0.0005"}
STEPS = 6


def name_of(values):
    return ",".join("%s=%s" % (key, NUMBERS.get(value, value)) for key, value in values.items())


def combinations(lists):
    return [dict(zip(lists, values)) for values in itertools.product(*lists.values())]


def files_of(folder):
    """SHA-256 by name; trainer_log.jsonl has times, README.md has nothing to compare."""
    return {name: sha256(os.path.join(folder, name)) for name in sorted(os.listdir(folder))
            if name != "trainer_log.jsonl"}


def recipe(folder, model, out, **changes):
    keys = toy.recipe(folder, model, max_steps=STEPS, save_steps=2, eval_steps=3, output_dir=out, **changes)
    write_recipe(folder("recipe.yml"), keys)
    return folder("recipe.yml")


def alone(folder, model, values):
    """The single job of these values."""
    out = folder("alone", name_of(values))
    run_embedded(recipe(folder, model, out, **values), workers=2)
    return files_of(out)


def check_group(row, expected):
    names = [variant["name"] for variant in row["variants"]]
    check(names == [name_of(values) for values in expected], "the variants are %s" % names)
    check(all(variant["state"] == "ok" for variant in row["variants"]), "a variant is not done: %s" % row)
    losses = [variant["eval_loss"] for variant in row["variants"]]
    best = [variant["name"] for variant in row["variants"] if variant["is_best"]]
    check(best == [names[losses.index(min(losses))]], "the best of %s is said to be %s" % (losses, best))
    check(row["eval_loss"] == min(losses), "the job does not show the loss of its best")
    return best[0]


def killed(folder, model, expected):
    """A fleet that loses a worker and its coordinator on the way."""
    with Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a")
        fleet.start_worker("b")
        job = fleet.submit(recipe(folder, model, folder("unused"), **LISTS))
        wait_for_points(fleet, job, 2)
        fleet.kill_worker("b")
        fleet.kill_coordinator()
        fleet.start_coordinator()
        fleet.start_worker("c")
        fleet.wait(job)
        row = fleet.json("jobs", job)[0]
        best = check_group(row, expected)
        points = fleet.json("show", job)
        check(points["point_count"] == len(expected) * (STEPS + 2), "%d points" % points["point_count"])
        for words in (["jobs"], ["show", job], ["graph", job, "--all"], ["ckpt", "log", job], ["watch", job]):
            said = fleet.qctl(*words).stdout
            for values in expected:
                check(name_of(values) in said, "qctl %s does not say %s:\n%s" % (" ".join(words), name_of(values), said))
        line = next(line for line in fleet.qctl("jobs", job).stdout.splitlines() if best in line)
        check(line.rstrip().endswith("best"), "the best is not marked: " + line)
        lines = fleet.json_lines("watch", job)
        check({point["variant"] for point in lines} == set(range(len(expected))), "points of some variants are missing")
        fleet.qctl("pull", job, folder("killed"))
    return folder("killed")


def main():
    with Scratch("variants") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 100, 1)
        toy.write_rows(folder("test.jsonl"), 16, 2)
        expected = combinations(LISTS)
        singles = {name_of(values): alone(folder, model, values) for values in expected}
        check(len({files["adapter_model.safetensors"] for files in singles.values()}) == len(expected),
              "some single jobs give the same adapter: the comparison compares little")
        groups = {"killed": killed(folder, model, expected)}
        for workers in (1, 3):
            out = folder("group-%d" % workers)
            done = run_embedded(recipe(folder, model, out, **LISTS), workers=workers, extra=["-o", "json"])
            check_group(json.loads(done.stdout)["row"], expected)
            groups["%d workers" % workers] = out
        for title, out in groups.items():
            check(sorted(os.listdir(out)) == sorted(singles), "%s: %s" % (title, sorted(os.listdir(out))))
            for name, files in singles.items():
                found = files_of(os.path.join(out, name))
                check(found == files, "%s, %s: %s, alone %s" % (title, name, found, files))
            print("%-10s %d adapters as their single jobs give them" % (title, len(singles)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
