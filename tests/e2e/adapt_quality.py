#!/usr/bin/env python3
"""What the ways to adapt are worth on a really trained model, by real_model's recipe: QLoRA ends within 2 % of LoRA,
with LoftQ no worse than that; DoRA, rsLoRA, int8 and PiSSA near LoRA; full training below all of them."""
import sys

from fleet import Fleet, Scratch, check, data_folder, e2e_rows, skip, write_recipe
from real_model import recipe

FULL = dict.fromkeys(("lora_r", "lora_alpha", "lora_target_modules"))
WAYS = {
    "lora": {}, "qlora": {"adapter": "qlora"}, "loftq": {"adapter": "qlora", "peft_init_lora_weights": "loftq"},
    "int8": {"load_in_8bit": True}, "dora": {"peft_use_dora": True}, "rslora": {"peft_use_rslora": True},
    "pissa": {"peft_init_lora_weights": "pissa"}, "full": dict(FULL, adapter="none"),
}
NEAR = {"qlora": 0.02, "loftq": 0.02, "int8": 0.02, "dora": 0.05, "rslora": 0.1, "pissa": 0.1}


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    with Scratch("adapt-quality") as folder, Fleet(folder("fleet")) as fleet:
        e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"))
        e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 500)
        fleet.start_coordinator()
        for number in range(2):
            fleet.start_worker("w%d" % number)
        jobs, losses = {}, {}
        for name, changes in WAYS.items():
            keys = dict(recipe(data + "/models/TinyStories-656K", folder, 0), name=name, eval_on_start=False, **changes)
            write_recipe(folder(name + ".yml"), {key: value for key, value in keys.items() if value is not None})
            jobs[name] = fleet.submit(folder(name + ".yml"))
        for name, job in jobs.items():
            fleet.wait(job, timeout=1800)
            losses[name] = fleet.json("show", job)["row"]["eval_loss"]
            print("%-8s %.4f  %+.2f %% of LoRA" % (name, losses[name], 100 * (losses[name] / losses["lora"] - 1)),
                  flush=True)
        for name, share in NEAR.items():
            check(abs(losses[name] / losses["lora"] - 1) <= share or losses[name] < losses["lora"],
                  "%s is not within %g %% of LoRA" % (name, 100 * share))
        check(losses["full"] < min(losses[name] for name in WAYS if name != "full"), "full training is not lowest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
