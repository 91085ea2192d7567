#!/usr/bin/env python3
"""What tasks of each kind take of a worker's memory, beside what `qctl submit` said that they would.

    python3 tests/bench/stage_memory.py [--large] [RECIPE ...]

Runs a job for each way to train and to quantize over the data's lm-6m (--large: over a model of the same family with random
weights, 29.4 M of them) through a coordinator and one worker that is given exactly the memory that the largest stage needs
(--memory). A thread looks at the worker's process every millisecond: its anonymous memory, and the peak of its resident memory
as the system counts it (VmHWM, mapped pages of base, inputs and program included), which is set back when another kind of task
begins. Prints the largest figures of each kind, and exits 1 where anonymous memory was above the estimate.
"""
import argparse
import os
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from fleet import Fleet, Scratch, check, data_folder, e2e_rows, skip, write, write_recipe  # noqa: E402
import json  # noqa: E402

MIB = 1 << 20
LARGE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8,
         "num_key_value_heads": 8, "head_dim": 64}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TRAIN = {"sequence_len": 256, "sample_packing": True, "micro_batch_size": 2, "gradient_accumulation_steps": 4, "max_steps": 2,
         "eval_steps": 1, "learning_rate": 1e-4}
LORA = dict(TRAIN, adapter="lora", lora_r=16, lora_alpha=32, lora_target_modules=LINEAR)
QUANTIZE = {"sequence_len": 256}


def recipes(folder):
    rows = {"datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
            "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}]}
    text = {"calibration_datasets": [{"path": folder("calib.txt")}], "test_datasets": [{"path": folder("test.txt")}]}
    pairs = {"datasets": [{"path": folder("pairs.jsonl"), "type": "preference"}], "rl": "dpo", "val_set_size": 0.1,
             "sample_packing": False}
    few = {"samples": 32}
    return {
        "lora": {**LORA, **rows},
        "recompute": {**LORA, **rows, "gradient_checkpointing": True},
        "qlora": {**LORA, **rows, "adapter": "qlora", "load_in_4bit": True},
        "int8": {**LORA, **rows, "load_in_8bit": True},
        "dora": {**LORA, **rows, "peft_use_dora": True},
        "pissa-merge": {**LORA, **rows, "peft_init_lora_weights": "pissa", "merge": "full"},
        "full": {**TRAIN, **rows},
        "qat": {**TRAIN, **rows, "qat": {"weight_dtype": "q4_0"}},
        "qat-grid": {**TRAIN, **rows, "qat": {"weight_dtype": "int4"}},
        "dpo": {**LORA, **pairs},
        "evaluate": {"sequence_len": 256, "evaluate": "only", "test_datasets": rows["test_datasets"]},
        "importance": {**QUANTIZE, **text, "quantize": {"scheme": "Q4_K_M", **few}},
        "rtn": {**QUANTIZE, **text, "quantize": {"scheme": "W8A8", "method": "rtn", "activations": "static", **few}},
        "gptq": {**QUANTIZE, **text, "quantize": {"scheme": "W4A16", "method": "gptq", **few}},
        "awq": {**QUANTIZE, **text, "quantize": {"scheme": "W4A16_ASYM", "method": "awq", **few}},
        "smoothquant": {**QUANTIZE, **text, "quantize": {"scheme": "W8A8", "method": "smoothquant", **few}},
        "nf4": {**QUANTIZE, "test_datasets": text["test_datasets"], "quantize": {"scheme": "NF4"}},
        "target": {**QUANTIZE, **text, "quantize": {"target_bpw": 5, "sensitivity_tokens": 512, **few}},
    }


def write_data(folder, data):
    e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"), 400)
    e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 60)
    with open(data + "/text/tinystories-train-head.txt", encoding="utf-8") as file:
        text = file.read(400000)
    write(folder("calib.txt"), text[:60000])
    write(folder("test.txt"), text[-12000:])
    pairs = [{"prompt": text[i:i + 60], "chosen": text[i + 60:i + 300], "rejected": text[i + 400:i + 600]}
             for i in range(0, 60000, 1000)]
    write(folder("pairs.jsonl"), "".join(json.dumps(pair) + "\n" for pair in pairs))


class Watch(threading.Thread):
    """The largest figures of a process by the kind of its task, which it keeps in its file of life."""

    def __init__(self, pid, life):
        super().__init__(daemon=True)
        self.pid, self.life, self.kind, self.peaks, self.ends = pid, life, None, {}, False

    def look_kind(self):
        with open(self.life, "rb") as file:
            _, job, kind = struct.unpack("<QQQ", file.read(24))
        return kind if job else None

    def run(self):
        while not self.ends:
            try:
                kind = self.look_kind()
                if kind != self.kind:
                    self.kind = kind
                    time.sleep(0.003)  # what the kind before held goes first
                    write("/proc/%d/clear_refs" % self.pid, "5")
                with open("/proc/%d/status" % self.pid, encoding="ascii") as file:
                    fields = dict(line.split(":", 1) for line in file)
            except (OSError, struct.error):
                time.sleep(0.001)
                continue
            if kind is not None and kind == self.look_kind():
                now = [int(fields[name].split()[0]) << 10 for name in ("RssAnon", "VmHWM")]
                self.peaks[kind] = [max(pair) for pair in zip(now, self.peaks.get(kind, now))]
            time.sleep(0.001)


def needs(fleet, path):
    """Bytes by the word of a kind, as `submit` says them before there is a worker."""
    needed = {}
    for line in fleet.qctl("submit", path, "--dry-run").stderr.splitlines():
        words = line.split()
        if line.endswith(" workers") or "of a worker's memory" in line:
            needed[words[0]] = float(words[1][:-1]) * {"K": 1 << 10, "M": MIB, "G": 1 << 30}[words[1][-1]]
    return needed


def run(folder, name, keys):
    """(stage, estimate, anonymous, VmHWM) of a job's kinds."""
    path = folder("%s.yml" % name)
    write_recipe(path, dict(keys, name=name, output_dir=folder("out-" + name)))
    with Fleet(folder("fleet-" + name)) as fleet:
        fleet.start_coordinator()
        needed = needs(fleet, path)
        fleet.start_worker("one", threads=2, extra=("--memory", str(int(max(needed.values()) * 1.01))))
        job = fleet.submit(path)
        life = os.path.join(fleet.folder, "cache-one", "life-one")
        watch = Watch(fleet.workers["one"].pid, life)
        watch.start()
        fleet.wait(job)
        watch.ends = True
        watch.join()
    words = kinds()
    peaks = {words[kind]: peak for kind, peak in watch.peaks.items()}
    if "train" in needed and "evaluate" in peaks:  # the session is that of training
        needed["evaluate"] = max(needed["train"], needed.get("evaluate", 0))
    if "replay" in needed and "quantize" in peaks:  # the other half of that stage's tasks
        needed["quantize"] = needed["replay"]
    return [(word, needed.get(word, 0), *peak) for word, peak in sorted(peaks.items())]


def kinds():
    """Words of the kinds by number, from the rows that declare them."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schemas", "kind.def"), encoding="utf-8") as file:
        rows = [line for line in file if line.strip().startswith("K(")]
    return [row.split('"')[1] for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", action="store_true")
    parser.add_argument("recipes", nargs="*")
    arguments = parser.parse_args()
    data = data_folder() or skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    short = []
    with Scratch("stage-memory") as folder:
        write_data(folder, data)
        model = data + "/models/lm-6m"
        if arguments.large:
            with open(model + "/config.json", encoding="utf-8") as file:
                write(folder("config.json"), json.dumps(dict(json.load(file), **LARGE)))
            with Fleet(folder("tools")) as fleet:
                fleet.start_coordinator()
                fleet.qctl("model", "create", "--config", folder("config.json"), "--tokenizer", model, folder("model"))
            model = folder("model")
        print("%-12s %-12s %12s %12s %12s" % ("RECIPE", "STAGE", "ESTIMATE", "ANONYMOUS", "VMHWM"))
        for name, keys in recipes(folder).items():
            if arguments.recipes and name not in arguments.recipes:
                continue
            for word, needed, anonymous, resident in run(folder, name, dict(keys, base_model=model)):
                print("%-12s %-12s %8.1f MiB %8.1f MiB %8.1f MiB" % (name, word, needed / MIB, anonymous / MIB, resident / MIB),
                      flush=True)
                if needed and anonymous > needed:
                    short.append("%s of %s" % (word, name))
    check(not short, "estimates are below what was measured: " + ", ".join(short))
    return 0


if __name__ == "__main__":
    sys.exit(main())
