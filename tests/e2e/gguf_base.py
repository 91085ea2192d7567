#!/usr/bin/env python3
"""LoRA on a lone GGUF file, with its tokenizer inside: the losses of the f32 folder of the same model within the
gap of the format, and a result with the tokenizer's files."""
import os
import sys

from fleet import Scratch, check, data_folder, e2e_rows, eval_losses, run_embedded, skip, write_recipe

FOLDER = "/models/TinyStories-656K"
FILE = FOLDER + "/TinyStories-656K-Q8_0.gguf"
FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.model", "tokenizer_config.json",
         "trainer_state.json")
APART = 0.01


def recipe(model, folder, out):
    return {
        "base_model": model,
        "datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
        "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}],
        "sequence_len": 512, "adapter": "lora", "lora_r": 8, "lora_alpha": 16,
        "lora_target_modules": ["q_proj", "v_proj"], "micro_batch_size": 8, "max_steps": 4,
        "learning_rate": 3e-3, "seed": 1, "eval_on_start": True, "output_dir": folder(out),
    }


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    with Scratch("gguf-base") as folder:
        e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"), 100)
        e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 40)
        losses = []
        for model, out in ((data + FOLDER, "plain"), (data + FILE, "gguf")):
            write_recipe(folder("recipe.yml"), recipe(model, folder, out))
            run_embedded(folder("recipe.yml"), workers=2)
            losses.append(eval_losses(folder(out)))
            print("%s: held-out loss %s" % (out, losses[-1]))
        check(losses[0].keys() == losses[1].keys() and len(losses[0]) >= 2, "not the same evaluations")
        for step, loss in losses[0].items():
            check(abs(losses[1][step] - loss) < APART, "step %d: %.4f on GGUF, %.4f on f32"
                  % (step, losses[1][step], loss))
        check(min(losses[1].values()) < losses[1][0], "training lowered no loss")
        for name in FILES:
            check(os.path.getsize(os.path.join(folder("gguf"), name)) > 0, "%s is missing" % name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
