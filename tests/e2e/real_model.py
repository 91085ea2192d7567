#!/usr/bin/env python3
"""LoRA on a really trained Llama with E2E, by the reference recipe: held-out loss on three seeds.

Reference (PyTorch, f32, three seeds): untouched 6.587731546945701 over 24,531 tokens; after 200 steps
3.694, 3.757, 3.812, mean 3.754. Every seed must end in 3.60..3.91, their mean within 3 % of 3.754.
"""
import sys

from fleet import Scratch, check, data_folder, e2e_rows, eval_losses, run_embedded, skip, write_recipe

UNTOUCHED, MEAN, LOW, HIGH, SEEDS = 6.587731546945701, 3.754, 3.60, 3.91, (0, 1, 2)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def recipe(model, folder, seed):
    return {
        "base_model": model,
        "datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
        "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}],
        "sequence_len": 512, "sample_packing": False,
        "adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_modules": LINEAR,
        "micro_batch_size": 16, "gradient_accumulation_steps": 1, "max_steps": 200,
        "learning_rate": 3e-3, "lr_scheduler": "cosine", "warmup_steps": 10,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "seed": seed,
        "eval_on_start": True, "output_dir": folder("out-%d" % seed),
    }


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    final = []
    with Scratch("real-model") as folder:
        e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"))
        e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 500)
        for seed in SEEDS:
            keys = recipe(data + "/models/TinyStories-656K", folder, seed)
            write_recipe(folder("recipe.yml"), keys)
            run_embedded(folder("recipe.yml"), workers=2)
            losses = eval_losses(keys["output_dir"])
            print("seed %d: untouched %.9f, after 200 steps %.4f" % (seed, losses[0], losses[200]))
            check(abs(losses[0] - UNTOUCHED) < 1e-4, "untouched loss %.9f, expected %.9f" % (losses[0], UNTOUCHED))
            check(LOW <= losses[200] <= HIGH, "held-out loss %.4f outside %.2f..%.2f" % (losses[200], LOW, HIGH))
            final.append(losses[200])
    mean = sum(final) / len(final)
    print("mean %.4f, reference %.3f" % (mean, MEAN))
    check(abs(mean - MEAN) <= 0.03 * MEAN, "mean %.4f is not within 3 %% of %.3f" % (mean, MEAN))
    return 0


if __name__ == "__main__":
    sys.exit(main())
