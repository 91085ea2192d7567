#!/usr/bin/env python3
"""What training under a quantizer leaves is what training saw: for every form of a result the held-out loss of the
exported file equals that of the run, bit for bit; and BitNet's packed folder equals the TQ2_0 file made of it."""
import os
import sys

import toy
from fleet import Fleet, Scratch, check, eval_losses, write_recipe

# Rows are whole blocks of 256, so that every type fits.
SIZES = {"hidden_size": 256, "intermediate_size": 256, "vocab_size": 260}
BITNET = dict(SIZES, architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
              quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                                   "quantization_mode": "online"})
LORA = {"adapter": "lora", "lora_dropout": 0.0}
FULL = {"adapter": "none", "learning_rate": 5e-4}
METHODS = {
    "q4_0": dict(FULL, qat="q4_0"),
    "q2_k": dict(LORA, qat={"weight_dtype": "q2_k"}),
    "tq2_0": dict(FULL, qat={"weight_dtype": "tq2_0", "quantize_embedding": True}),
    "q5_1": dict(LORA, qat={"weight_dtype": "q5_1", "fake_quant_after_n_steps": 2}),
    "int4": dict(FULL, qat={"weight_dtype": "int4", "activation_dtype": "int8"}),
    "int4-lora": dict(LORA, qat={"weight_dtype": "int4", "group_size": 64, "symmetric": False}),
    "int8": dict(FULL, qat={"weight_dtype": "int8", "activation_dtype": "int8"}),
    "int8-group": dict(LORA, qat={"weight_dtype": "int8", "group_size": 128}),
    "ternary": dict(FULL, qat={"weight_dtype": "ternary", "warmup_steps": 4}),
    "bitnet": dict(FULL, model="bitnet", random_init=True),
}
AS_THEY_ARE = ("--token-embedding-type", "F32", "--leave-output-tensor") # of a conversion: all but the layers
LORA_KEYS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


def make_models(folder, qctl):
    plain = dict(toy.CONFIG)
    toy.CONFIG.update(SIZES)
    toy.make_model(qctl, folder.path)
    toy.CONFIG.update(BITNET)
    toy.write_tokenizer(folder("bitnet"))
    toy.CONFIG.clear()
    toy.CONFIG.update(plain)


def train(folder, fleet, name, settings):
    settings = dict(settings)
    keys = toy.recipe(folder, folder(settings.pop("model", "model")), name=name, max_steps=6, save_steps=6,
                      eval_steps=6, sequence_len=64, output_dir=folder("out", name))
    if settings["adapter"] == "none":
        for key in LORA_KEYS:
            del keys[key]
    keys.update(settings)
    write_recipe(folder("recipes", name + ".yml"), keys)
    job = fleet.submit(folder("recipes", name + ".yml"))
    fleet.wait(job)
    fleet.qctl("pull", job, folder("out", name))
    files = sorted(os.listdir(folder("out", name)))
    models = [file for file in files if file.endswith(".gguf")]
    print("%-11s %s" % (name, " ".join(files)), flush=True)
    return folder("out", name, *models[:1]), eval_losses(folder("out", name))[6]


def evaluate(folder, fleet, name, path):
    keys = toy.recipe(folder, path, name=name, sequence_len=64, evaluate="only", output_dir=folder("out", name))
    for key in LORA_KEYS + ("adapter", "datasets", "max_steps", "save_steps", "eval_steps", "learning_rate",
                            "lr_scheduler", "warmup_steps", "weight_decay", "max_grad_norm"):
        keys.pop(key, None)
    write_recipe(folder("recipes", name + ".yml"), keys)
    job = fleet.submit(folder("recipes", name + ".yml"))
    fleet.wait(job)
    return fleet.json("show", job)["row"]["eval_loss"]


def compare(name, seen, found):
    print("%-11s held-out loss in training %r, of the file %r" % (name, seen, found), flush=True)
    check(seen == found, "%s: the file is not what training saw" % name)


def main():
    with Scratch("qat-export") as folder:
        for part, count, seed in (("train", 120, 1), ("test", 30, 2)):
            toy.write_rows(folder(part + ".jsonl"), count, seed)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            for number in range(2):
                fleet.start_worker("w%d" % number, threads=1)
            make_models(folder, fleet.qctl)
            for name, settings in METHODS.items():
                path, seen = train(folder, fleet, name, settings)
                compare(name, seen, evaluate(folder, fleet, name + "-file", path))
                if name == "bitnet":
                    for kind in ("TQ2_0", "TQ1_0"):
                        file = folder("out", kind + ".gguf")
                        fleet.qctl("convert", path, file, *AS_THEY_ARE, "--type", kind)
                        compare(kind, seen, evaluate(folder, fleet, kind, file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
