#!/usr/bin/env python3
"""Writes pairs.json: direct preference optimization of a few real pairs in float64, by torch and autograd.

    make.py DATA_FOLDER     needs torch, transformers, tokenizers

The model is TinyStories-656K, all weights train. Each pair is `BOS prompt answer EOS` twice, prompt and answer
tokenized apart; the loss is that of the paper with beta 0.1 and label smoothing 0.05, against reference
log-probabilities that are moved away from the model's own, so that no pair stands at D = 0.
"""
import json
import os
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

BETA, SMOOTHING, MOVED = 0.1, 0.05, ((-1.5, 0.75), (4.0, -6.0), (-20.0, 25.0))
HERE = os.path.dirname(os.path.abspath(__file__))


def answer_log_p(model, prompt, answer):
    ids = torch.tensor([prompt + answer])
    log_p = model(ids).logits[0].double().log_softmax(-1)
    return sum(log_p[at - 1, ids[0, at]] for at in range(len(prompt), ids.shape[1]))


def main():
    data = sys.argv[1]
    folder = os.path.join(data, "models", "TinyStories-656K")
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    with open(os.path.join(data, "preference", "llms_from_scratch_pref.json"), encoding="utf-8") as file:
        rows = json.load(file)[:len(MOVED)]
    pairs = []
    for row, moved in zip(rows, MOVED):
        def encode(text):
            return tokenizer.encode(text, add_special_tokens=False).ids
        prompt = [1] + encode(row["instruction"])
        answers = [encode(row[side]) + [2] for side in ("chosen", "rejected")]
        model.zero_grad()
        log_p = [answer_log_p(model, prompt, answer) for answer in answers]
        reference = [p.item() + by for p, by in zip(log_p, moved)]
        rewards = [BETA * (p - r) for p, r in zip(log_p, reference)]
        margin = rewards[0] - rewards[1]
        loss = -(1 - SMOOTHING) * torch.nn.functional.logsigmoid(margin) \
            - SMOOTHING * torch.nn.functional.logsigmoid(-margin)
        loss.backward()
        pairs.append({
            "prompt": prompt, "chosen": answers[0], "rejected": answers[1], "reference": reference,
            "log_p": [p.item() for p in log_p], "loss": loss.item(), "rewards": [r.item() for r in rewards],
            "gradient_norms": {name: p.grad.norm().item() for name, p in model.named_parameters()},
            "final_norm_gradient": dict(model.named_parameters())["model.norm.weight"].grad[:8].tolist()})
    with open(os.path.join(HERE, "pairs.json"), "w", encoding="utf-8") as out:
        json.dump({"beta": BETA, "label_smoothing": SMOOTHING, "pairs": pairs}, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
