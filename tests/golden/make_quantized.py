#!/usr/bin/env python3
"""make_quantized - writes the golden files of quantized tensors, tests/golden/quantized/.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch compressed-tensors bitsandbytes
    /tmp/venv/bin/python tests/golden/make_quantized.py

Run by hand when a format is added; the tests read what it wrote and need no Python.

    grid.safetensors     w (4, 128), importance (128); for each case CASE.scale, CASE.zero and for
                         some CASE.codes of compressed-tensors' own functions in float32, the ranges by
                         the rules of llm-compressor's observers (mse, imatrix_mse) over them
    packed.safetensors   for bits B: B.codes (3, 45) and B.words; B.zeros (37, 2) and B.zero_words
    bnb.safetensors      w.N and the tensors that bitsandbytes stores for it
"""
import json
import os

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams
import bitsandbytes.functional as bnb
from safetensors.torch import save_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantized")
GROUP = 32


def cells(w, strategy):
    """(cells, elements of a cell), cells in row-major order."""
    rows, columns = w.shape
    if strategy == "tensor":
        return w.reshape(1, -1)
    if strategy == "channel":
        return w
    if strategy == "group":
        return w.reshape(-1, GROUP)
    return w.reshape(rows // 2, 2, columns // GROUP, GROUP).transpose(1, 2).reshape(-1, 2 * GROUP)


def back(c, w, strategy):
    rows, columns = w.shape
    if strategy == "block":
        return c.reshape(rows // 2, columns // GROUP, 2, GROUP).transpose(1, 2).reshape(w.shape)
    return c.reshape(w.shape)


def search(x, weights, args, steps, count, norm):
    """The range of each row of x with the least error: observers mse and imatrix_mse."""
    token = args.model_copy(update={"strategy": "token"})
    low, high = x.amin(-1), x.amax(-1)
    best = torch.full_like(low, torch.finfo(torch.float32).max)
    best_low, best_high = low.clone(), high.clone()
    for i in range(count):
        p = 1 - i / steps
        scale, zero = calculate_qparams(low * p, high * p, args)
        q = fake_quantize(x, scale.unsqueeze(-1), zero.unsqueeze(-1), token)
        error = (q - x).abs().pow(norm)
        if weights is not None:
            error = error * weights
        error = error.sum(-1)
        better = error < best
        best[better], best_low[better], best_high[better] = error[better], low[better] * p, high[better] * p
    return best_low, best_high


def make_grid():
    torch.manual_seed(5)
    w = torch.randn(4, 128) * torch.logspace(-3, 0, 128)
    w[1] += 0.02  # a row whose middle is not 0
    w[2, 96:] = 0  # a group of nothing
    importance = torch.rand(128) ** 4
    out = {"w": w, "importance": importance}
    for bits in (2, 4, 8):
        for symmetric in (True, False):
            for strategy in ("tensor", "channel", "group", "block"):
                for rule in ("minmax", "mse", "importance"):
                    args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="channel")
                    x = cells(w, strategy)
                    weights = cells(importance.expand(4, -1), strategy)
                    low, high = x.amin(-1), x.amax(-1)
                    if rule == "mse":
                        low, high = search(x, None, args, 100, 20, 2.4)
                    elif rule == "importance":
                        low, high = search(x, weights / weights.mean(), args, 20, 20, 3)
                    scale, zero = calculate_qparams(low, high, args)
                    case = f"{bits}.{'sym' if symmetric else 'affine'}.{strategy}.{rule}"
                    out[case + ".scale"] = scale.reshape(-1)
                    out[case + ".zero"] = zero.reshape(-1).to(torch.int8)
                    if rule == "minmax":
                        codes = quantize(x, scale.unsqueeze(-1), zero.unsqueeze(-1), args)
                        out[case + ".codes"] = back(codes, w, strategy).to(torch.int8)
    return out


def make_packed():
    torch.manual_seed(6)
    out = {}
    for bits in range(2, 9):
        half = 1 << (bits - 1)
        codes = torch.randint(-half, half, (3, 45), dtype=torch.int8)
        zeros = torch.randint(-half, half, (37, 2), dtype=torch.int8)
        out[f"{bits}.codes"], out[f"{bits}.words"] = codes, pack_to_int32(codes, bits)
        out[f"{bits}.zeros"] = zeros
        out[f"{bits}.zero_words"] = pack_to_int32(zeros, bits, packed_dim=0).contiguous()
    return out


def renest(w, state, block):
    """The library for CPUs looks a scale's level up in a table of 65,536 places and misses the
    nearest now and then; its kernels for GPUs and its portable code, repeated here, do not."""
    scales = w.float().reshape(-1, block).abs().amax(-1) - state.offset
    code = state.state2.code
    for i in range(0, len(scales), 256):
        x = scales[i:i + 256] * (1 / state.state2.absmax[i // 256])
        nearest = torch.bucketize(x, (code[:-1] + code[1:]) / 2).to(torch.uint8)
        assert (nearest != state.absmax[i:i + 256]).sum() <= 2
        state.absmax[i:i + 256] = nearest


def make_bnb():
    torch.manual_seed(7)
    out = {}
    cases = {
        "short": (torch.randn(5, 77), "nf4", False, 64),  # blocks cross rows, the last is short
        "odd": (torch.randn(3, 11), "fp4", False, 64),
        "fp4": (torch.randn(4, 64) * 1e-3, "fp4", False, 32),
        "nested": (torch.randn(33, 256) * torch.rand(33, 1), "nf4", True, 32),
        "zeros": (torch.zeros(2, 64), "nf4", False, 64),
    }
    for name, (w, kind, nested, block) in cases.items():
        packed, state = bnb.quantize_4bit(
            w, blocksize=block, compress_statistics=nested, quant_type=kind)
        if name != "nested":
            out[f"w.{name}"] = w
        else:  # what readers make of it; the matrix itself is bfloat16, to be small
            w = w.bfloat16()
            packed, state = bnb.quantize_4bit(
                w, blocksize=block, compress_statistics=nested, quant_type=kind)
            out[f"w.{name}"] = w
            renest(w, state, block)
        out[f"{name}.weight"] = packed
        for key, value in state.as_dict(packed=True).items():
            out[f"{name}.weight.{key}"] = value
        out[f"{name}.values"] = bnb.dequantize_4bit(packed, state).float()[-1:].contiguous()
    return out


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    for name, make in (("grid", make_grid), ("packed", make_packed), ("bnb", make_bnb)):
        tensors = {key: value.contiguous() for key, value in make().items()}
        path = os.path.join(FOLDER, name + ".safetensors")
        save_file(tensors, path)
        print(json.dumps({"file": name, "tensors": len(tensors), "bytes": os.path.getsize(path)}))


if __name__ == "__main__":
    main()
