#!/usr/bin/env python3
"""How much memory a worker takes to train on a model of 7 B parameters in four bits.

    python3 tests/bench/memory_7b.py [--layers 32] [--keep FOLDER] [--bits 4] [--sequence 512] [--rank 16] [--threads 2]

Makes a folder of the shape of Llama-2-7B (bf16, random weights that are written as a stream, 12.6 GiB of disk), runs a recipe for
one step (LoRA on a base in four bits, all linear layers, gradient checkpointing) through a coordinator and one worker as `qctl run` does, and
looks at the worker's process all the while: the peak of its resident memory as the system counts it, file pages included, and
where the bytes go. Exits 1 above the budget of 6 GiB. The folder is removed, unless --keep names one, which is then used again.
Needs a release build (QFLEET_BIN) and nothing else.
"""
import argparse
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from fleet import BIN, write, write_recipe  # noqa: E402
from toy import write_tokenizer  # noqa: E402

GIB, BUDGET_GIB = 1 << 30, 6.0
WIDTH, MLP, HEADS, VOCABULARY = 4096, 11008, 32, 32000
LINEAR = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
          "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (MLP, WIDTH), "mlp.up_proj": (MLP, WIDTH),
          "mlp.down_proj": (WIDTH, MLP)}
HIGH_BYTES = bytes((0x3c, 0xbc, 0x3b, 0xbb)[i % 4] for i in range(256))  # bf16 of both signs, 2^-9 to 2^-5
PIECE = 1 << 24


def tensors(layers):
    """(name, shape) of all tensors, in the order of the file."""
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    for layer in range(layers):
        front = "model.layers.%d." % layer
        yield front + "input_layernorm.weight", (WIDTH,)
        for name, shape in LINEAR.items():
            yield front + name + ".weight", shape
        yield front + "post_attention_layernorm.weight", (WIDTH,)
    yield "model.norm.weight", (WIDTH,)
    yield "lm_head.weight", (VOCABULARY, WIDTH)


def elements(shape):
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def random_weights(source, count):
    """bf16: any low byte, and a high byte of small numbers."""
    out = bytearray(2 * count)
    out[0::2] = source.randbytes(count)
    out[1::2] = source.randbytes(count).translate(HIGH_BYTES)
    return out


def write_weights(path, layers):
    source, header, at = random.Random(7), {}, 0
    for name, shape in tensors(layers):
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * elements(shape)]}
        at += 2 * elements(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    piece = random_weights(source, PIECE)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors(layers):
            left = elements(shape)
            if len(shape) == 1:
                out.write(b"\x80\x3f" * left)  # gains of 1
                continue
            while left > 0:  # the same random numbers from another place each time: quantizing does not mind
                first, count = source.randrange(PIECE - (1 << 20)), 0
                count = min(left, PIECE - first)
                out.write(memoryview(piece)[2 * first:2 * (first + count)])
                left -= count


def make_model(folder, layers):
    write_tokenizer(folder)
    write(folder + "/config.json", json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": WIDTH,
        "intermediate_size": MLP, "num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "initializer_range": 0.02,
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "bos_token_id": 256, "eos_token_id": 257,
        "vocab_size": VOCABULARY, "torch_dtype": "bfloat16"}, indent=1))
    write_weights(folder + "/model.safetensors", layers)


def recipe(options, model, folder):
    return {
        "base_model": model, "datasets": [{"path": folder + "/text.jsonl", "type": "completion"}], "evaluate": "none",
        "sequence_len": options.sequence, "adapter": "lora", "load_in_4bit": options.bits == 4,
        "load_in_8bit": options.bits == 8, "lora_r": options.rank, "lora_alpha": 2 * options.rank,
        "lora_target_linear": True, "gradient_checkpointing": True, "micro_batch_size": 1, "max_steps": 1,
        "learning_rate": 1e-4, "resources": {"workers": 1, "threads": options.threads}, "output_dir": folder + "/out",
    }


def status(pid):
    """The process's figures in bytes; nothing when it is gone."""
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as lines:
            found = (re.match(r"(\w+):\s+(\d+) kB", line) for line in lines)
            return {m.group(1): int(m.group(2)) * 1024 for m in found if m}
    except OSError:
        return {}


def worker_of(parent):
    """The process that `parent` started from the worker's program."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, encoding="ascii", errors="replace") as file:
                ppid = int(file.read().rsplit(")", 1)[1].split()[1])
            if ppid == parent and "qfleet-worker" in os.readlink("/proc/%s/exe" % entry):
                return int(entry)
        except (OSError, ValueError, IndexError):
            continue
    return None


def watch(command, log):
    """Runs the command; the worker's figures at the largest resident size seen, VmHWM of its last look."""
    pid, largest, last = None, {}, {}
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            pid = pid or worker_of(process.pid)
            now = status(pid) if pid else {}
            if now.get("VmHWM"):
                last = now
                if now["VmRSS"] > largest.get("VmRSS", 0):
                    largest = now
            time.sleep(0.05)
    return process.returncode, largest, last


def table(options, largest, last):
    linear = options.layers * sum(r * c for r, c in LINEAR.values())
    adapter = options.layers * options.rank * sum(r + c for r, c in LINEAR.values())
    base = linear // 32 * (20 if options.bits == 4 else 37)
    rows = [
        ("linear layers in %d bits, with scales" % options.bits, base),
        ("embedding and head in bf16, mapped (as far as read)", 2 * 2 * VOCABULARY * WIDTH),
        ("the adapter's weights, f32", 4 * adapter),
        ("their gradient of one row", 4 * adapter),
        ("the fold of the gradients", 4 * adapter),
        ("inputs of the layers, kept for recomputing", 4 * options.layers * options.sequence * WIDTH),
    ]
    for text, size in rows:
        print("%-56s %7.2f GiB" % (text, size / GIB))
    print("%-56s %7.2f GiB" % ("anonymous memory at the largest size seen", largest.get("RssAnon", 0) / GIB))
    print("%-56s %7.2f GiB" % ("mapped pages of files then", largest.get("RssFile", 0) / GIB))
    print("%-56s %7.2f GiB" % ("peak of the worker's resident memory (VmHWM)", last.get("VmHWM", 0) / GIB))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("layers", 32), ("bits", 4), ("sequence", 512), ("rank", 16), ("threads", 2)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--keep", metavar="FOLDER")
    options = parser.parse_args()
    folder = options.keep or tempfile.mkdtemp(prefix="qfleet-memory-")
    model, run = folder + "/model", tempfile.mkdtemp(prefix="qfleet-memory-run-")
    try:
        if not os.path.exists(model + "/model.safetensors"):
            started = time.monotonic()
            make_model(model, options.layers)
            print("model written in %.0f s" % (time.monotonic() - started), flush=True)
        write(run + "/text.jsonl", json.dumps({"text": "one two three four " * (options.sequence // 8)}) + "\n")
        write_recipe(run + "/recipe.yml", recipe(options, model, run))
        started = time.monotonic()
        code, largest, last = watch([os.path.join(BIN, "qctl"), "run", run + "/recipe.yml"], run + "/log")
        if code != 0:
            with open(run + "/log", encoding="utf-8", errors="replace") as log:
                sys.exit("qctl run failed:\n" + log.read()[-4000:])
        print("the job took %.0f s" % (time.monotonic() - started))
        table(options, largest, last)
        peak = last["VmHWM"] / GIB
        print("budget %.1f GiB: %s" % (BUDGET_GIB, "kept" if peak < BUDGET_GIB else "exceeded"))
        return 0 if peak < BUDGET_GIB else 1
    finally:
        shutil.rmtree(run, ignore_errors=True)
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
