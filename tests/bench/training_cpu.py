#!/usr/bin/env python3
"""Processor time that coordinator and worker take for a step of training lm-6m, and for a checkpoint.

    python3 tests/bench/training_cpu.py [full|lora] [STEPS]

Runs a job of a tenth of the steps and one of all, each with one worker of one thread, and prints the difference by step. QFLEET_BIN
names other programs to compare with, in turns.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from fleet import Fleet, Scratch, data_folder, skip, write, write_recipe  # noqa: E402

METHODS = {"full": {"adapter": "none"},
           "lora": {"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}}


def spent(process):
    """Seconds in the program and in the kernel."""
    with open("/proc/%d/stat" % process.pid, encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return [int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields[11:13]]


def train(folder, data, method, steps, save_steps):
    name = "%d-%d" % (steps, save_steps)
    write_recipe(folder(name + ".yml"), {
        "base_model": data + "/models/lm-6m", "name": name, "datasets": [{"path": folder("text.txt")}], "sequence_len": 256,
        "sample_packing": True, "micro_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": steps,
        "save_steps": save_steps, "learning_rate": 1e-4, "seed": 1, "output_dir": folder("out", name), **METHODS[method]})
    with Fleet(folder("fleet-" + name)) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a", threads=1)
        fleet.wait(fleet.submit(folder(name + ".yml")))
        return [spent(process) for process in (fleet.coordinator, fleet.workers["a"])]


def tell(what, count, base, more):
    for name, before, after in zip(("coordinator", "worker"), base, more):
        each = [(b - a) / count for a, b in zip(before, after)]
        print("%-10s %-12s %6.3f s user  %6.3f s system" % (what, name, *each))


def main():
    method = sys.argv[1] if len(sys.argv) > 1 else "full"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    data = data_folder()
    if data is None:
        skip("no data: set QFLEET_DATA")
    with Scratch("training-cpu") as folder:
        with open(data + "/text/tinystories-train-head.txt", encoding="utf-8") as file:
            write(folder("text.txt"), file.read(400000))
        few = train(folder, data, method, steps // 10, steps)
        many = train(folder, data, method, steps, steps)
        saves = train(folder, data, method, steps, 2)
    tell("step", steps - steps // 10, few, many)
    tell("checkpoint", steps // 2 - 1, many, saves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
