#!/usr/bin/env python3
"""What LoRA's options do through the fleet: DoRA, rsLoRA with patterns, whole modules, adapters of embedding and head,
adapters that start from the weights they adapt. Each lowers the held-out loss, gives the same bits with 1 and 3
workers, goes on from its own folder, and can be asked for text."""
import json
import os
import struct
import subprocess
import sys

import toy
from fleet import BIN, Scratch, check, eval_losses, run_embedded, sha256, write_recipe

STEPS = 6
OPTIONS = {
    "dora": {"lora_target_linear": True, "peft_use_dora": True, "peft_use_rslora": True},
    "patterns": {"lora_target_linear": True, "peft_use_rslora": True, "rank_pattern": {"down_proj": 2, "q_proj": 6},
                 "alpha_pattern": {"down_proj": 4}},
    "saved": {"lora_target_modules": ["q_proj", "v_proj"], "lora_modules_to_save": ["norm", "embed_tokens", "lm_head"]},
    "embeddings": {"lora_target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "pissa": {"lora_target_linear": True, "peft_init_lora_weights": "pissa"},
    "pissa_dora_nf4": {"lora_target_linear": True, "peft_init_lora_weights": "pissa", "peft_use_dora": True,
                       "load_in_4bit": True},
    "loftq": {"lora_target_linear": True, "peft_init_lora_weights": "loftq", "load_in_4bit": True},
}


def run(folder, model, name, workers, **changes):
    out = folder(name)
    keys = toy.recipe(folder, model, max_steps=STEPS, output_dir=out, eval_on_start=True, learning_rate=5e-3,
                      **changes)
    if "lora_target_linear" in changes:
        del keys["lora_target_modules"]
    write_recipe(folder(name + ".yml"), keys)
    run_embedded(folder(name + ".yml"), workers=workers)
    return out


def refuse_start(folder, model, start, key, **changes):
    """An adapter that is not what the recipe says is refused before anything starts."""
    keys = toy.recipe(folder, model, max_steps=STEPS, lora_model_dir=start, **changes)
    if "lora_target_linear" in changes:
        del keys["lora_target_modules"]
    write_recipe(folder("other.yml"), keys)
    done = subprocess.run([os.path.join(BIN, "qctl"), "submit", "--dry-run", folder("other.yml")], capture_output=True,
                          text=True, check=False)
    check(done.returncode == 3 and "lora_model_dir" in done.stderr and key in done.stderr,
          "%s: exit %d, %s" % (key, done.returncode, done.stderr))


def losses(out):
    """Held-out losses, before the first step and after the last."""
    found = eval_losses(out)
    return found[min(found)], found[max(found)]


def header(out):
    with open(os.path.join(out, "adapter_model.safetensors"), "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        return json.loads(f.read(size))


def config(out):
    with open(os.path.join(out, "adapter_config.json"), encoding="utf-8") as f:
        return json.load(f)


def check_files(name, out):
    keys, told = header(out), config(out)
    check(told["use_dora"] == any(k.endswith("lora_magnitude_vector") for k in keys), "magnitudes of " + name)
    if name == "patterns":
        check(told["rank_pattern"] == {"down_proj": 2, "q_proj": 6}, "rank_pattern: %s" % told["rank_pattern"])
        check(told["alpha_pattern"]["down_proj"] == 4, "alpha_pattern: %s" % told["alpha_pattern"])
    if name == "saved":
        check(told["modules_to_save"] == ["embed_tokens", "lm_head", "model.norm"], "%s" % told["modules_to_save"])
        check("base_model.model.model.norm.weight" in keys, "the norm is missing")
    if name == "embeddings":
        check("base_model.model.model.embed_tokens.lora_embedding_A" in keys, "the lookup is missing")
    if name.startswith("pissa"):
        check(told["r"] == 8 and told["lora_alpha"] == 16, "PiSSA: r %s, alpha %s" %
              (told["r"], told["lora_alpha"]))


def ask(model, out):
    result = subprocess.run([os.path.join(BIN, "qctl"), "generate", model, "--adapter", out, "--max-new-tokens", "4",
                             "--temperature", "0", "--prompt", "red box"], capture_output=True, text=True, check=False)
    check(result.returncode == 0, "generate: " + result.stderr)


def try_option(folder, model, name, changes):
    outs = [run(folder, model, "%s-%d" % (name, workers), workers, **changes) for workers in (1, 3)]
    first, last = losses(outs[0])
    print("%-15s held-out loss %.4f to %.4f" % (name, first, last), flush=True)
    check(last < first - 0.01, name + " does not learn")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        check(sha256(os.path.join(outs[0], file)) == sha256(os.path.join(outs[1], file)),
              "%s: 1 and 3 workers give another %s" % (name, file))
    check_files(name, outs[0])
    ask(model, outs[0])
    if "peft_init_lora_weights" not in changes:
        refuse_start(folder, model, outs[0], "lora_alpha", **dict(changes, lora_alpha=5))
        again = run(folder, model, name + "-again", 2, lora_model_dir=outs[0], **changes)
        check(abs(losses(again)[0] - last) < 1e-6, "%s: goes on from %.6f, not from %.6f" % (name, losses(again)[0], last))


def main(names):
    with Scratch("lora-options") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 100, 1)
        toy.write_rows(folder("test.jsonl"), 16, 2)
        for name, changes in OPTIONS.items():
            if not names or name in names:
                try_option(folder, model, name, changes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
