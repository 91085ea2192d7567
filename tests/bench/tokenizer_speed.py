#!/usr/bin/env python3
"""Our tokenizers beside Hugging Face's, on one thread, on the same text in the same pieces.

    python3 -m venv venv && venv/bin/pip install tokenizers
    venv/bin/python tests/bench/tokenizer_speed.py [build/release/bin/bench_tokenizer] [rounds]

Needs a release build and the real data (QFLEET_DATA or ../shared/data). The two take turns, round by round, so that a busy machine
is busy for both; figures are medians in MB/s, `ratio` is ours over theirs. Both give the same ids, or the script says so. Theirs
is the faster of encode_batch and encode_batch_fast (which leaves offsets out, as we do).
"""
import json, os, re, statistics, subprocess, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, models, pre_tokenizers, decoders  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DATA = os.environ.get("QFLEET_DATA", os.path.join(ROOT, "..", "shared", "data"))
TEXT = os.path.join(DATA, "text", "tinystories-train-head.txt")

def gpt2(folder):
    tokenizer = Tokenizer(models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer

def repaired(path):
    """The file lost its no-break spaces to an editor; their library refuses it as it is."""
    whole = json.load(open(path, encoding="utf-8"))
    model = whole["model"]
    model["vocab"] = {token.replace(" ", "\u00a0"): number for token, number in model["vocab"].items()}
    for i, merge in enumerate(model["merges"]):
        if merge.count(" ") != 1:
            middle = len(merge) // 2
            model["merges"][i] = merge[:middle].replace(" ", "\u00a0") + " " + merge[middle + 1:].replace(" ", "\u00a0")
    return Tokenizer.from_str(json.dumps(whole))

TOKENIZERS = [
    ("gpt2", "tokenizers/hf/gpt2", lambda: gpt2(os.path.join(DATA, "tokenizers/hf/gpt2"))),
    ("llama (spm)", "tokenizers/sentencepiece/llama2-tokenizer.model",
     lambda: repaired(os.path.join(DATA, "tokenizers/hf/llama2/tokenizer.json"))),
    ("phi-3", "tokenizers/hf/phi-3-mini", lambda: Tokenizer.from_file(os.path.join(DATA, "tokenizers/hf/phi-3-mini/tokenizer.json"))),
    ("falcon", "tokenizers/hf/falcon-tokenizer",
     lambda: Tokenizer.from_file(os.path.join(DATA, "tokenizers/hf/falcon-tokenizer/tokenizer.json"))),
]

def ours(program, path):
    """{"whole": (MB/s, tokens), "lines": ...} of one round."""
    out = subprocess.run([program, os.path.join(DATA, path), TEXT, "1"], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in out.splitlines():
        word = line.split()
        if word[0] in ("whole", "lines"):
            found[word[0]] = (float(word[1]), int(word[3]))
    return found

def theirs(tokenizer, pieces, size):
    best, tokens = 0.0, 0
    for name in ("encode_batch", "encode_batch_fast"):
        encode = getattr(tokenizer, name, None)
        if encode is None:
            continue
        start = time.perf_counter()
        encoded = encode(pieces, add_special_tokens=False)
        best = max(best, size / 1e6 / (time.perf_counter() - start))
        tokens = sum(len(e.ids) for e in encoded)
    return best, tokens

def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "release", "bin", "bench_tokenizer")
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    raw = open(TEXT, "rb").read()
    text = raw.decode()
    pieces = {"whole": [text], "lines": [line for line in re.split(r"(?<=\n)", text) if line]}
    worst = None
    print("%-12s %-6s %8s %8s %7s" % ("", "", "ours", "theirs", "ratio"))
    for name, path, load in TOKENIZERS:
        tokenizer = load()
        for shape in ("whole", "lines"):
            mine, other = [], []
            for _ in range(rounds):
                speed, tokens = ours(program, path)[shape]
                mine.append(speed)
                speed, their_tokens = theirs(tokenizer, pieces[shape], len(raw))
                other.append(speed)
                if tokens != their_tokens:
                    print("%s, %s: %d tokens against %d" % (name, shape, tokens, their_tokens))
            ratio = statistics.median(mine) / statistics.median(other)
            worst = ratio if worst is None else min(worst, ratio)
            print("%-12s %-6s %8.1f %8.1f %7.2f" % (name, shape, statistics.median(mine), statistics.median(other), ratio), flush=True)
    print("least ratio %.2f" % worst)
    return 0 if worst >= 1.0 else 1

sys.exit(main())
