#!/usr/bin/env python3
"""What training under a quantizer is worth, on a trained Llama and text that it has not seen. The control trains the
same steps without one and is quantized then, by the same encoder. A gap is what a quantized model loses against the
control as it trained; under the quantizer it is at most half of the control's, with LoRA at least a third smaller. A
gap of a thousandth is as large as what another order of the rows changes, so gaps are summed over seeds.

    qat_quality.py [--methods full|lora ...] [--types TYPE ...] [--seeds N ...]     a part of it
"""
import argparse
import sys

from fleet import Fleet, Scratch, check, write, write_recipe
from quantizing import TEXT, WIDE, need_data

WINDOW, WORKERS = 256, 2
TYPES = ("q4_0", "q2_k", "tq2_0")
SEEDS = (1, 2, 3)
# Of the control's gap, what may be left; and settings.
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
        "weight_decay": 0.0, "max_grad_norm": 1.0, "output_dir": folder("out", name),
    }
    recipe.update(keys)
    write_recipe(path, recipe)
    return fleet.submit(path)


def train(fleet, folder, data, method, types, seed):
    """Jobs of a method, side by side. Returns the losses by type, the control's as None."""
    name = "%s-%d" % (method, seed)
    keys = dict(METHODS[method][1], seed=seed)
    merged = {"merge": "full"} if method == "lora" else {}
    jobs = {None: submit(fleet, folder, data, name, **keys, **merged)}
    for kind in types:
        jobs[kind] = submit(fleet, folder, data, "%s-%s" % (name, kind), **keys, qat=kind)
    losses = {}
    for kind, job in jobs.items():
        fleet.wait(job, timeout=1800)
        losses[kind] = fleet.json("show", job)["row"]["eval_loss"]
    fleet.qctl("pull", jobs[None], folder("pull", name))
    return losses


def quantized(fleet, folder, name, kind):
    """The control's loss once it is quantized."""
    path = folder("%s-%s.gguf" % (name, kind))
    fleet.qctl("convert", folder("pull", name), path, "--type", kind.upper(), *CONVERT)
    recipe = folder("recipes", "%s-%s-control.yml" % (name, kind))
    write_recipe(recipe, {"base_model": path, "name": "control", "sequence_len": WINDOW, "sample_packing": True,
                          "test_datasets": [{"path": folder("test.txt")}], "evaluate": "only", "seed": 1})
    job = fleet.submit(recipe)
    fleet.wait(job)
    return fleet.json("show", job)["row"]["eval_loss"]


def tell(method, kind, what, without, gap):
    print("%-4s %-6s %-7s gap without %.5f  with %.5f  left %.0f %%" % (
        method, kind, what, without, gap, 100 * gap / without), flush=True)


def compare(fleet, folder, data, method, types, seeds):
    sums = {kind: [0.0, 0.0] for kind in types}
    for seed in seeds:
        losses = train(fleet, folder, data, method, types, seed)
        print("%-4s control seed %d %.5f" % (method, seed, losses[None]), flush=True)
        for kind in types:
            without = quantized(fleet, folder, "%s-%d" % (method, seed), kind) - losses[None]
            gap = losses[kind] - losses[None]
            tell(method, kind, "seed %d" % seed, without, gap)
            check(without > 0, "%s, seed %d: quantizing costs nothing" % (kind, seed))
            sums[kind] = [sums[kind][0] + without, sums[kind][1] + gap]
    for kind, (without, gap) in sums.items():
        tell(method, kind, "all", without / len(seeds), gap / len(seeds))
    part = METHODS[method][0]
    check(all(gap <= part * without for without, gap in sums.values()),
          "%s: more than %.0f %% of a gap is left" % (method, 100 * part))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    asked = parser.parse_args()
    data = need_data()
    with Scratch("qat-quality") as folder:
        texts(folder, data)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            for number in range(WORKERS):
                fleet.start_worker("w%d" % number, threads=1)
            for method in asked.methods:
                compare(fleet, folder, data, method, asked.types, asked.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
