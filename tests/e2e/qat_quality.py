#!/usr/bin/env python3
"""What training under a quantizer is worth, on a trained Llama and text that it has not seen. The control trains the
same steps without one and is quantized then, by the same encoder. A gap is what a quantized model loses against the
control as it trained; under the quantizer it is at most half of the control's, with LoRA at least a third smaller.

    qat_quality.py [full|lora [TYPE ...]]     a part of it
"""
import sys

from fleet import Fleet, Scratch, check, write, write_recipe
from quantizing import TEXT, WIDE, need_data

WINDOW, WORKERS = 256, 2
TYPES = ("q4_0", "q2_k", "tq2_0")
# Of the control's gap, what may be left; and settings under which the control is no worse than before.
METHODS = {
    "full": (1 / 2, {"adapter": "none", "learning_rate": 5e-4, "max_steps": 250}),
    "lora": (2 / 3, {"adapter": "lora", "lora_r": 64, "lora_alpha": 128, "lora_target_linear": True,
                     "learning_rate": 1.5e-4, "max_steps": 150}),
}
CONVERT = ("--pure", "--leave-output-tensor", "--token-embedding-type", "F32")


def texts(folder, data):
    with open(data + TEXT, encoding="utf-8") as file:
        text = file.read()
    write(folder("train.txt"), text[:800000])
    write(folder("test.txt"), text[-40000:])


def submit(fleet, folder, data, name, **keys):
    path = folder("recipes", name + ".yml")
    recipe = {
        "base_model": data + WIDE, "name": name, "sequence_len": WINDOW, "sample_packing": True,
        "datasets": [{"path": folder("train.txt")}], "test_datasets": [{"path": folder("test.txt")}],
        "micro_batch_size": 4, "gradient_accumulation_steps": 1, "lr_scheduler": "cosine", "warmup_ratio": 0.05,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "seed": 1, "output_dir": folder("out", name),
    }
    recipe.update(keys)
    write_recipe(path, recipe)
    return fleet.submit(path)


def train(fleet, folder, data, method, types):
    """Jobs of a method, side by side. Returns the losses by type, the control's as None."""
    keys = METHODS[method][1]
    merged = {"merge": "full"} if method == "lora" else {}
    jobs = {None: submit(fleet, folder, data, method, **keys, **merged)}
    for kind in types:
        jobs[kind] = submit(fleet, folder, data, "%s-%s" % (method, kind), **keys, qat=kind)
    losses = {}
    for kind, job in jobs.items():
        fleet.wait(job, timeout=1800)
        losses[kind] = fleet.json("show", job)["row"]["eval_loss"]
    fleet.qctl("pull", jobs[None], folder("pull", method))
    return losses


def quantized(fleet, folder, method, kind):
    """The control's loss once it is quantized."""
    path = folder("%s-%s.gguf" % (method, kind))
    fleet.qctl("convert", folder("pull", method), path, "--type", kind.upper(), *CONVERT)
    recipe = folder("recipes", "%s-%s-control.yml" % (method, kind))
    write_recipe(recipe, {"base_model": path, "name": "control", "sequence_len": WINDOW, "sample_packing": True,
                          "test_datasets": [{"path": folder("test.txt")}], "evaluate": "only", "seed": 1})
    job = fleet.submit(recipe)
    fleet.wait(job)
    return fleet.json("show", job)["row"]["eval_loss"]


def compare(fleet, folder, data, method, types):
    losses = train(fleet, folder, data, method, types)
    held = True
    print("%-4s         control %.5f" % (method, losses[None]), flush=True)
    for kind in types:
        without = quantized(fleet, folder, method, kind) - losses[None]
        gap = losses[kind] - losses[None]
        print("%-4s %-6s  gap without %.5f  with %.5f  left %.0f %%" % (
            method, kind, without, gap, 100 * gap / without), flush=True)
        check(without > 0, "%s: quantizing costs nothing" % kind)
        held = held and gap <= METHODS[method][0] * without
    check(held, "%s: more than %.0f %% of a gap is left" % (method, 100 * METHODS[method][0]))


def main():
    data = need_data()
    methods, types = sys.argv[1:2] or list(METHODS), sys.argv[2:] or TYPES
    with Scratch("qat-quality") as folder:
        texts(folder, data)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            for number in range(WORKERS):
                fleet.start_worker("w%d" % number, threads=1)
            for method in methods:
                compare(fleet, folder, data, method, types)
    return 0


if __name__ == "__main__":
    sys.exit(main())
