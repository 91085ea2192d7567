#!/usr/bin/env python3
"""LoRA on a lone GGUF file, with its tokenizer inside: the losses of the f32 folder of the same model within the
gap of the format, and a result with the tokenizer's files. On a Q4_K file, whole, in two, or without its
ending: one SHA-256 of the adapter, however many workers."""
import os
import shutil
import struct
import sys

from fleet import Scratch, check, data_folder, e2e_rows, eval_losses, run_embedded, sha256, skip, write_recipe

FOLDER = "/models/TinyStories-656K"
FILE = FOLDER + "/TinyStories-656K-Q8_0.gguf"
FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.model", "tokenizer_config.json",
         "trainer_state.json")
APART = 0.01
K_FILE = "/models/lm-6m/lm-6m-Q4_K_M-im.gguf"
ALIGNMENT = 32
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY, U16, I32 = 8, 9, 2, 5


class Reader:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        self.at = 0

    def skip(self, size):
        self.at += size
        return self.bytes[self.at - size:self.at]

    def number(self, kind):
        return struct.unpack("<" + kind, self.skip(struct.calcsize(kind)))[0]

    def text(self):
        return self.skip(self.number("Q"))

    def value(self, kind):
        if kind == TEXT:
            self.text()
        elif kind == ARRAY:
            item, count = self.number("I"), self.number("Q")
            for _ in range(count):
                self.value(item)
        else:
            self.skip(SIZES[kind])


def text(words):
    return struct.pack("<Q", len(words)) + words


def split_in_two(path, stem):
    """NAME-00001-of-00002.gguf, with the keys, and its second part. Returns the first's path."""
    read = Reader(path)
    head, tensor_count, key_count = read.skip(8), read.number("Q"), read.number("Q")
    start = read.at
    for _ in range(key_count):
        check(read.text() != b"general.alignment", "the file has an alignment of its own")
        read.value(read.number("I"))
    keys, tensors = read.bytes[start:read.at], []
    for _ in range(tensor_count):
        name, rank = read.text(), read.number("I")
        tensors.append((name, struct.pack("<I", rank) + read.skip(8 * rank + 4), read.number("Q")))
    data = read.at + -read.at % ALIGNMENT
    ends = sorted(offset for _, _, offset in tensors) + [len(read.bytes) - data]
    for number in range(2):
        own = [(U16, b"split.no", struct.pack("<H", number)), (U16, b"split.count", struct.pack("<H", 2)),
               (I32, b"split.tensors.count", struct.pack("<i", tensor_count))]
        part = tensors[number::2]
        out = head + struct.pack("<QQ", len(part), len(own) + (key_count if number == 0 else 0))
        out += keys if number == 0 else b""
        out += b"".join(text(key) + struct.pack("<I", kind) + value for kind, key, value in own)
        body = b""
        for name, shape, offset in part:
            out += text(name) + shape + struct.pack("<Q", len(body))
            body += read.bytes[data + offset:data + ends[ends.index(offset) + 1]]
            body += bytes(-len(body) % ALIGNMENT)
        with open("%s-%05d-of-00002.gguf" % (stem, number + 1), "wb") as file:
            file.write(out + bytes(-len(out) % ALIGNMENT) + body)
    return stem + "-00001-of-00002.gguf"


def one_digest(folder, path):
    """A block format whose products are decoded strip by strip: no step depends on who computes what."""
    split, sums = split_in_two(path, folder("split")), {}
    shutil.copy(path, folder("no-ending"))
    for model, workers in ((path, 1), (path, 2), (split, 2), (folder("no-ending"), 1)):
        name = "%s, workers %d" % (os.path.basename(model), workers)
        out = "k-%d" % len(sums)
        keys = dict(recipe(model, folder, out), sequence_len=256, lora_target_modules=["q_proj", "down_proj"],
                    max_steps=3)
        write_recipe(folder("recipe.yml"), keys)
        run_embedded(folder("recipe.yml"), workers=workers)
        sums[name] = sha256(folder(out, "adapter_model.safetensors"))
        print("%-48s %s" % (name, sums[name]), flush=True)
    check(len(set(sums.values())) == 1, "different bits: %s" % sums)
    losses = eval_losses(folder("k-0"))
    check(min(losses.values()) < losses[0], "training lowered no loss")


def recipe(model, folder, out):
    return {
        "base_model": model,
        "datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
        "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}],
        "sequence_len": 512, "adapter": "lora", "lora_r": 8, "lora_alpha": 16,
        "lora_target_modules": ["q_proj", "v_proj"], "micro_batch_size": 8, "max_steps": 4,
        "learning_rate": 3e-3, "seed": 1, "eval_on_start": True, "output_dir": folder(out),
    }


def main():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    with Scratch("gguf-base") as folder:
        e2e_rows(data + "/instruct/e2e_valid.txt", folder("train.jsonl"), 100)
        e2e_rows(data + "/instruct/e2e_test.txt", folder("test.jsonl"), 40)
        losses = []
        for model, out in ((data + FOLDER, "plain"), (data + FILE, "gguf")):
            write_recipe(folder("recipe.yml"), recipe(model, folder, out))
            run_embedded(folder("recipe.yml"), workers=2)
            losses.append(eval_losses(folder(out)))
            print("%s: held-out loss %s" % (out, losses[-1]))
        check(losses[0].keys() == losses[1].keys() and len(losses[0]) >= 2, "not the same evaluations")
        for step, loss in losses[0].items():
            check(abs(losses[1][step] - loss) < APART, "step %d: %.4f on GGUF, %.4f on f32"
                  % (step, losses[1][step], loss))
        check(min(losses[1].values()) < losses[1][0], "training lowered no loss")
        for name in FILES:
            check(os.path.getsize(os.path.join(folder("gguf"), name)) > 0, "%s is missing" % name)
        one_digest(folder, data + K_FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
