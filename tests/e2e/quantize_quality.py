#!/usr/bin/env python3
"""What the methods are worth, on a trained model and text that none of them has seen: GPTQ below rounding to nearest,
importance below none, and types chosen for Q4_K_M's size below Q4_K_M, by KL divergence from the model as it was."""
import json
import os
import sys

from fleet import Fleet, Scratch, check, write, write_recipe
from quantizing import TEXT, WIDE, need_data

SAMPLES, WINDOW, WORKERS = 32, 256, 2
JOBS = {
    "w4-rtn": {"scheme": "W4A16", "method": "rtn", "observer": "mse"},
    "w4-gptq": {"scheme": "W4A16", "method": "gptq", "observer": "mse"},
    "q4_0-rtn": {"scheme": "Q4_0", "method": "rtn"},
    "q4_0-importance": {"scheme": "Q4_0", "method": "importance"},
    "q4_k_m": {"scheme": "Q4_K_M"},
}


def run(fleet, folder, data, name, quantize):
    path = folder("recipes", name + ".yml")
    write_recipe(path, {
        "base_model": data + WIDE, "name": name, "sequence_len": WINDOW,
        "calibration_datasets": [{"path": folder("calib.txt")}], "test_datasets": [{"path": folder("test.txt")}],
        "quantize": dict(quantize, samples=SAMPLES), "output_dir": folder("out", name),
    })
    job = fleet.submit(path)
    fleet.wait(job)
    fleet.qctl("pull", job, folder("pull", name))
    with open(folder("pull", name, "quantization.json"), encoding="utf-8") as file:
        report = json.load(file)
    quality, size = report["quality"], report["size"]
    print("%-16s KL %.6f  perplexity %.4f  top-1 %.4f  %.4f bits a weight  %d bytes" % (
        name, quality["kl_mean"], quality["result"]["perplexity"], quality["top1_agreement"],
        size["bits_per_weight"], size["result_bytes"]), flush=True)
    return quality["kl_mean"], size["result_bytes"]


def bits_of_file(folder, name, model):
    """Bits of all weights of a GGUF file's tensors, norms among them, as target_bpw counts them."""
    with open(folder("pull", name, "quantization.json"), encoding="utf-8") as file:
        size = json.load(file)["size"]
    with open(os.path.join(model, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    counts = [shape_count(row["shape"]) for key, row in header.items() if key != "__metadata__"]
    plain = sum(counts) - size["weights"]
    return 8 * (size["weight_bytes"] + 4 * plain) / sum(counts)


def shape_count(shape):
    count = 1
    for width in shape:
        count *= width
    return count


def main():
    data = need_data()
    with Scratch("quantize-quality") as folder:
        with open(data + TEXT, encoding="utf-8") as file:
            text = file.read()
        write(folder("calib.txt"), text[:60000])
        write(folder("test.txt"), text[-40000:])
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            for number in range(WORKERS):
                fleet.start_worker("w%d" % number, threads=1)
            kl = {name: run(fleet, folder, data, name, quantize) for name, quantize in JOBS.items()}
            bits = bits_of_file(folder, "q4_k_m", data + WIDE)
            kl["target"] = run(fleet, folder, data, "target",
                               {"target_bpw": round(bits, 4), "sensitivity_tokens": 2 * WINDOW})
        check(kl["w4-gptq"][0] < kl["w4-rtn"][0], "GPTQ is not better than rounding to nearest")
        check(kl["q4_0-importance"][0] < kl["q4_0-rtn"][0], "importance does not help")
        check(kl["target"][0] < kl["q4_k_m"][0], "the chosen types are not better than Q4_K_M's")
        check(kl["target"][1] <= kl["q4_k_m"][1] * 1.001, "the chosen types are larger than Q4_K_M's")
    return 0


if __name__ == "__main__":
    sys.exit(main())
