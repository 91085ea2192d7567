"""adapting - a job for every way to adapt a model, small enough that all run in seconds, and what is compared of
them: every file of a result."""
import json
import os
import random

import toy
from fleet import write, write_recipe

# Rows are whole blocks of 32; bitnet's too.
WIDTHS = {"hidden_size": 64, "intermediate_size": 96}
BITNET = dict(WIDTHS, architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
              quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                                   "quantization_mode": "offline"})

FULL = {"adapter": "none", "learning_rate": 5e-4}
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_modules": toy.LINEAR}
NECK = {"learning_rate": 1e-3}
DPO = dict(LORA, rl="dpo", rl_beta=0.2, dpo_label_smoothing=0.05, sample_packing=False,
           datasets=[{"path": "pairs.jsonl", "type": "preference"}],
           test_datasets=[{"path": "pairs-test.jsonl", "type": "preference"}])

METHODS = {
    "lora": LORA,
    "full": FULL,
    "patterns": dict(LORA, peft_use_rslora=True, rank_pattern={"v_proj": 8}, alpha_pattern={"layers.1.mlp.up_proj": 3},
                     lora_modules_to_save=["lm_head", "norm"]),
    "embeddings": dict(LORA, lora_target_modules=["q_proj", "embed_tokens", "lm_head"]),
    "dora": dict(LORA, peft_use_dora=True),
    "pissa": dict(LORA, peft_init_lora_weights="pissa"),
    "qlora": dict(LORA, adapter="qlora"),
    "loftq": dict(LORA, adapter="qlora", peft_init_lora_weights="loftq"),
    "fp4": dict(LORA, load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False),
    "int8": dict(LORA, load_in_8bit=True),
    "qat-q4_0": dict(FULL, qat={"weight_dtype": "q4_0", "fake_quant_after_n_steps": 3, "quantize_embedding": True}),
    "qat-int4": dict(FULL, qat={"weight_dtype": "int4", "activation_dtype": "int8", "group_size": 32}),
    "qat-int8": dict(FULL, qat={"weight_dtype": "int8", "symmetric": False}),
    "qat-lora": dict(LORA, lora_dropout=0, qat={"weight_dtype": "q5_0"}),
    "ternary": dict(FULL, qat={"weight_dtype": "ternary", "warmup_steps": 8}),
    "bitnet": dict(FULL, model="bitnet", random_init=True),
    "houlsby": dict(NECK, adapter="houlsby", adapter_reduction_factor=4),
    "pfeiffer": dict(NECK, adapter="pfeiffer"),
    "parallel": dict(NECK, adapter="parallel", adapter_scaling=2.0),
    "prompt": {"adapter": "prompt_tuning", "num_virtual_tokens": 6, "learning_rate": 1e-2},
    "dpo": DPO,
    "dpo-full": dict(DPO, **FULL),
    "dpo-merge": dict(DPO, merge="full"),
    "dpo-qat": dict(DPO, lora_dropout=0, qat={"weight_dtype": "q8_0"}),
    "merge": dict(LORA, merge="full"),
    "merge-q4_0": dict(LORA, adapter="qlora", merge="dequantized", quantize={"scheme": "Q4_0"}),
    "many": dict(LORA, lora_r=[2, 4], learning_rate=[1e-3, 2e-3]),
}
LORA_VARIANT = "learning_rate=0.002,lora_r=4/adapter_model.safetensors"
LORA_KEYS = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


def write_pairs(path, count, seed):
    source = random.Random(seed)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(count):
            words = [source.choice(toy.WORDS) for _ in range(source.randint(3, 9))]
            out.write(json.dumps({"prompt": " ".join(words[:2]), "chosen": " " + " ".join(sorted(words)),
                                  "rejected": " " + " ".join(reversed(words))}) + "\n")


def prepare(folder, qctl):
    """Models and data that the recipes name."""
    base = dict(toy.CONFIG)
    toy.CONFIG.update(WIDTHS)
    toy.make_model(qctl, folder.path)
    toy.CONFIG.update(base)
    toy.write_tokenizer(folder("bitnet"))
    write(folder("bitnet", "config.json"), json.dumps(dict(base, **BITNET), indent=1))
    for name, count, seed in (("train", 200, 1), ("test", 30, 2)):
        toy.write_rows(folder(name + ".jsonl"), count, seed)
    write_pairs(folder("pairs.jsonl"), 120, 3)
    write_pairs(folder("pairs-test.jsonl"), 24, 4)


def recipe(folder, method, **changes):
    settings = dict(METHODS[method])
    keys = toy.recipe(folder, folder(settings.pop("model", "model")), name=method, max_steps=10, save_steps=3,
                      eval_steps=5, output_dir=folder("out", method))
    if settings["adapter"] not in ("lora", "qlora"):
        for key in LORA_KEYS:
            del keys[key]
    keys.update(settings)
    for name in ("datasets", "test_datasets"):
        keys[name] = [dict(row, path=folder(os.path.basename(row["path"]))) for row in keys[name]]
    if settings["adapter"] not in ("lora", "qlora"):
        keys = {key: value for key, value in keys.items() if key not in LORA_KEYS}
    keys.update(changes)
    return keys


def submit(fleet, folder, keys):
    path = folder("recipes", "%s.yml" % keys["name"])
    write_recipe(path, keys)
    return fleet.submit(path)
