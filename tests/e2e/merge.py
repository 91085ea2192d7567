#!/usr/bin/env python3
"""An adapter in its base: the merged files lose what the base with its adapter loses, evaluate to the very loss that was
measured, and go on to be quantized in the same job; an adapter of before is merged without training to the same bytes.
Into the full base, into one of four bits as training saw it, into quantized folders and into a GGUF file. One SHA-256
of every file, with 1 and 3 workers."""
import json
import os
import sys

from fleet import Fleet, Scratch, check, data_folder, skip, write, write_recipe
from quantizing import SMALL, TEXT, check_once, files

GGUF = "/models/lm-6m/lm-6m-Q4_K_M-im.gguf"
# What merging may change of a loss: rounding, and in half precision that of the file.
CASES = {
    "full": (SMALL, {"merge": "full", "quantize": {"scheme": "Q4_0"}}, 1e-5),
    "four-bits": (SMALL, {"merge": "dequantized", "load_in_4bit": True}, 1e-4),
    "four-bits-full": (SMALL, {"merge": "full", "load_in_4bit": True}, 1e-1),
    "dora": (SMALL, {"merge": "full", "peft_use_dora": True, "rank_pattern": {"layers.0.self_attn.q_proj": 6},
                     "lora_modules_to_save": ["norm"]}, 1e-5),
    "pissa": (SMALL, {"merge": "dequantized", "peft_init_lora_weights": "pissa", "load_in_4bit": True}, 1e-4),
    "gguf": (GGUF, {"merge": "dequantized"}, 1e-3),
    "W8A16": (None, {"merge": "dequantized"}, 1e-3),
    "NF4": (None, {"merge": "dequantized"}, 1e-3),
}


def texts(folder, data):
    with open(data + TEXT, encoding="utf-8") as file:
        text = file.read()
    write(folder("train.txt"), text[:9000])
    write(folder("test.txt"), text[-3000:])


def recipe(folder, data, case, **changes):
    model, keys = CASES[case][0], CASES[case][1]
    made = {
        "base_model": data + model if model else folder("quantized", case), "name": case, "sequence_len": 64, "datasets": [{"path": folder("train.txt")}],
        "test_datasets": [{"path": folder("test.txt")}], "adapter": "lora", "lora_r": 4, "lora_alpha": 8,
        "lora_target_linear": True, "learning_rate": 3e-3, "max_steps": 4, "micro_batch_size": 2,
        "gradient_accumulation_steps": 2, "output_dir": folder("out", case),
    }
    made.update(keys)
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def run(fleet, folder, target, keys):
    """The folder of the job's files."""
    path = folder("recipes", "%s.yml" % target.replace("/", "-"))
    write_recipe(path, keys)
    job = fleet.submit(path)
    fleet.wait(job)
    check_once(fleet, job)
    fleet.qctl("pull", job, folder(target))
    return folder(target)


def read(path, *names):
    with open(os.path.join(path, *names), encoding="utf-8") as file:
        return json.load(file)


def evaluate(fleet, folder, target, base, protocol):
    """The loss of the test text under the model in a folder, as a job of its own finds it."""
    path = folder("recipes", "%s.yml" % target)
    write_recipe(path, {"base_model": base, "name": target, "sequence_len": 64, "evaluate": "only",
                        "perplexity": protocol, "test_datasets": [{"path": folder("test.txt")}], "output_dir": folder("out", target)})
    job = fleet.submit(path)
    fleet.wait(job)
    points = [row for row in fleet.json("show", job)["points"] if row["is_eval"]]
    return points[-1]["loss"]


def check_quality(fleet, folder, name, path):
    check("quantization_config" not in read(path, "config.json"), name + ": merged weights are said to be quantized")
    quality = read(path, "merge.json")["quality"]
    trained, merged = quality["trained"]["loss"], quality["merged"]["loss"]
    check(abs(trained - merged) <= CASES[name][2], "%s: merging changed the loss from %.6f to %.6f" % (name, trained, merged))
    found = evaluate(fleet, folder, name + "-again", path, quality["protocol"])
    check(found == merged, "%s: the merged files evaluate to %r, measured was %r" % (name, found, merged))
    print("%-16s as trained %.6f, merged %.6f%s" % (name, trained, merged, "".join(
        ", %s %s" % (key, quality[key] if key == "better" else "%.6f" % quality[key]["loss"])
        for key in ("full", "better") if key in quality)), flush=True)
    return quality


def check_all(fleet, folder, data, out):
    quality = {name: check_quality(fleet, folder, name, out[name]) for name in CASES}
    check(quality["four-bits"]["better"] == quality["four-bits-full"]["better"], "two answers to which merge is better")
    gap = abs(quality["four-bits"]["full"]["loss"] - quality["four-bits-full"]["merged"]["loss"])
    check(gap < 1e-5, "the full base with its adapter and merged are %g apart" % gap)
    cost = read(out["full"], "quantization.json")["quality"]
    check(cost["base"]["loss"] == quality["full"]["merged"]["loss"], "what was quantized is not what was merged")
    check(0 < cost["result"]["loss"] - cost["base"]["loss"] < 0.5, "Q4_0 of the merged model is off")
    again = run(fleet, folder, "again", recipe(
        folder, data, "full", name="again", datasets=None, test_datasets=None, quantize=None, learning_rate=None,
        max_steps=None, lora_model_dir=os.path.join(out["full"], "adapter")))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        check(files(again)[name] == files(out["full"])[name], "merged later, %s is another" % name)
    check(not os.path.exists(os.path.join(again, "adapter")), "an adapter that was given came back")


def check_refused(fleet, folder, data):
    for number, (changes, words) in enumerate((
            ({"merge": "dequantized", "quantize": None}, "merge: full"),
            ({"merge": "full", "base_model": data + GGUF, "quantize": None}, "merge: dequantized"))):
        path = folder("recipes", "refused-%d.yml" % number)
        write_recipe(path, recipe(folder, data, "full", name="refused", **changes))
        done = fleet.qctl("submit", path, ok=False)
        check(done.returncode == 3 and words in done.stderr, "submit does not say \"%s\": %s" % (words, done.stderr))


def quantize_bases(fleet, folder, data):
    for name, (model, _, _) in CASES.items():
        if model is None and not os.path.exists(folder("quantized", name)):
            run(fleet, folder, "quantized/" + name, {"base_model": data + SMALL, "name": "base", "sequence_len": 64,
                                                     "quantize": name, "output_dir": folder("out", "base-" + name)})


def run_all(folder, data, workers):
    with Fleet(folder("fleet-%d" % workers)) as fleet:
        fleet.start_coordinator()
        for number in range(workers):
            fleet.start_worker("w%d" % number)
        quantize_bases(fleet, folder, data)
        out = {name: run(fleet, folder, "%d/%s" % (workers, name), recipe(folder, data, name)) for name in CASES}
        if workers == 1:
            check_all(fleet, folder, data, out)
            check_refused(fleet, folder, data)
        return {name: files(path) for name, path in out.items()}


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    with Scratch("merge") as folder:
        texts(folder, data)
        first = run_all(folder, data, 1)
        other = run_all(folder, data, 3)
        for name, sums in first.items():
            check(sums == other[name], "%s: 3 workers made other bytes: %s"
                  % (name, sorted(file for file in sums if sums[file] != other[name].get(file))))
            print("%-16s %d files, equal with 1 and 3 workers" % (name, len(sums)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
