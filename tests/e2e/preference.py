#!/usr/bin/env python3
"""DPO on real pairs of answers: margin and accuracy on held-out pairs rise; a second job on the same
pairs computes nothing of what they are measured from; same bits with 1 and 3 workers and with kills;
a row without its rejected answer is named before anything starts."""
import json
import os
import sys

from fleet import Fleet, Scratch, check, data_folder, run_embedded, sha256, skip, write, write_recipe
from same_bits import hit, replace_worker, restart_coordinator

PAIRS, HELD_OUT, STEPS = 400, 80, 24


def recipe(folder, model, name, rate):
    write_recipe(folder(name + ".yml"), {
        "base_model": model, "rl": "dpo", "rl_beta": 0.1,
        "datasets": [{"path": folder("pairs.json"), "type": "preference"}],
        "val_set_size": HELD_OUT, "sequence_len": 384, "adapter": "lora", "lora_r": 8, "lora_alpha": 16,
        "lora_target_linear": True, "micro_batch_size": 8, "gradient_accumulation_steps": 2, "max_steps": STEPS,
        "save_steps": 4, "eval_on_start": True, "eval_steps": STEPS // 2, "learning_rate": rate, "warmup_steps": 4,
        "seed": 5, "output_dir": folder("out-" + name)})
    return folder(name + ".yml")


def held_out(folder):
    with open(os.path.join(folder, "trainer_state.json"), encoding="utf-8") as file:
        history = json.load(file)["log_history"]
    return [row for row in history if "eval_loss" in row]


def check_quality(folder):
    rows = held_out(folder)
    for row in rows:
        print("step %2d: held-out loss %.4f, rewards %.4f over %.4f, margin %.4f, accuracy %.1f %%" % (
            row["step"], row["eval_loss"], row["eval_rewards/chosen"], row["eval_rewards/rejected"],
            row["eval_rewards/margins"], 100 * row["eval_rewards/accuracies"]))
    first, middle, last = rows
    check(abs(first["eval_loss"] - 0.6931471805599453) < 1e-12 and first["eval_rewards/margins"] == 0,
          "before the first step something is preferred: %s" % first)
    for key in ("eval_rewards/margins", "eval_rewards/accuracies"):
        check(first[key] < middle[key] <= last[key], "%s does not rise" % key)
    check(first["eval_loss"] > middle["eval_loss"] > last["eval_loss"], "the held-out loss does not fall")
    check(last["eval_rewards/margins"] > 0.1 and last["eval_rewards/accuracies"] > 0.65, "too little: %s" % last)


def reference(fleet, job):
    return next(row for row in fleet.json("graph", job) if row["kind"] == "reference")


def pulled(fleet, job, folder):
    fleet.qctl("pull", job, folder)
    return sha256(os.path.join(folder, "adapter_model.safetensors"))


def run_with_kills(fleet, path):
    """A worker goes in mid-training and another one comes, then the coordinator goes."""
    fleet.start_worker("b")
    job = hit(fleet, path, [(4, replace_worker), (12, restart_coordinator)])
    fleet.wait(job)
    return job


def check_bad_row(fleet, folder, model):
    write(folder("bad.jsonl"), '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}\n')
    write_recipe(folder("bad.yml"), {
        "base_model": model, "rl": "dpo", "datasets": [{"path": folder("bad.jsonl")}], "sequence_len": 64,
        "adapter": "lora", "lora_r": 2, "lora_alpha": 2, "learning_rate": 1e-3})
    done = fleet.qctl("submit", folder("bad.yml"), ok=False)
    check(done.returncode != 0 and "bad.jsonl:2: " in done.stderr and '"rejected"' in done.stderr,
          "a row without rejected: exit %d, %s" % (done.returncode, done.stderr))


def main():
    data = data_folder()
    if data is None:
        skip("no real data")
    model = os.path.join(data, "models", "TinyStories-656K")
    with Scratch("preference") as folder:
        with open(os.path.join(data, "preference", "llms_from_scratch_pref.json"), encoding="utf-8") as file:
            write(folder("pairs.json"), json.dumps(json.load(file)[:PAIRS]))
        slow, fast = recipe(folder, model, "slow", 1e-3), recipe(folder, model, "fast", 2e-3)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            fleet.start_worker("a")
            check_bad_row(fleet, folder, model)
            job = fleet.submit(slow)
            fleet.wait(job)
            made = reference(fleet, job)
            check(made["reused"] == 0 and made["total"] > 1, "the first job measures its pairs")
            one = {"slow": pulled(fleet, job, folder("slow"))}
            check_quality(folder("slow"))
            check("accuracy" in fleet.qctl("show", job).stdout, "qctl show is silent about rewards")
            job = run_with_kills(fleet, fast)
            taken = reference(fleet, job)
            note = "reused %d of %d" % (made["total"], made["total"])
            check(taken["reused"] == made["total"] and taken["key"] == made["key"], "computed again: %s" % taken)
            check(note in fleet.qctl("show", job).stdout, "qctl show does not say: " + note)
            one["fast"] = pulled(fleet, job, folder("fast"))
        for name, path in (("slow", slow), ("fast", fast)):
            run_embedded(path, workers=3)
            three = sha256(folder("out-" + name, "adapter_model.safetensors"))
            print("%s %s" % (name, three))
            check(three == one[name], "%s: another adapter with three workers: %s" % (name, one[name]))
        check(one["slow"] != one["fast"], "another rate gave the same adapter: the comparison compares nothing")
        print("the second job: reference %s from %s" % (note, taken["reused_from"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
