#!/usr/bin/env python3
"""Bottleneck adapters and a tuned prompt on a really trained Llama with E2E, at the rates that docs/RECIPES.md names.

Each kind must take the held-out loss down by its part in 60 steps (in 200 LoRA goes from 6.59 to 3.75), and its folder must
change what qctl generate says, which runs outside the fleet.
"""
import os
import subprocess
import sys

from fleet import BIN, Scratch, check, data_folder, e2e_rows, eval_losses, run_embedded, skip, write_recipe

STEPS = 60
# adapter: learning rate, what 60 steps must take from the loss
KINDS = {"houlsby": (1e-2, 2.0), "pfeiffer": (1e-2, 2.0), "parallel": (1e-2, 1.5), "prompt_tuning": (1e-1, 0.8)}


def recipe(model, folder, adapter, rate):
    return {
        "base_model": model,
        "datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
        "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}],
        "sequence_len": 256, "adapter": adapter, "micro_batch_size": 16, "max_steps": STEPS,
        "learning_rate": rate, "lr_scheduler": "cosine", "warmup_steps": 10, "eval_on_start": True,
        "output_dir": folder(adapter),
    }


def says(model, *options):
    command = [os.path.join(BIN, "qctl"), "generate", model, "--temperature", "0", "--max-new-tokens", "24",
               "--prompt", "name : Alimentum | area : city centre"]
    return subprocess.run(command + list(options), check=True, capture_output=True).stdout


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    model = data + "/models/TinyStories-656K"
    with Scratch("inserts") as folder:
        e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"), 1000)
        e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 100)
        untouched = says(model)
        for adapter, (rate, least) in KINDS.items():
            keys = recipe(model, folder, adapter, rate)
            write_recipe(folder("recipe.yml"), keys)
            run_embedded(folder("recipe.yml"), workers=2)
            losses = eval_losses(keys["output_dir"])
            print("%s at %g: %.3f, after %d steps %.3f" % (adapter, rate, losses[0], STEPS, losses[STEPS]))
            check(losses[0] - losses[STEPS] >= least, "%s: the held-out loss fell by less than %g" % (adapter, least))
            check(says(model, "--adapter", keys["output_dir"]) != untouched, adapter + " says what the base says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
