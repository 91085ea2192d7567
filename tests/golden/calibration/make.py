#!/usr/bin/env python3
"""make - writes expected.json: ranges and scales as the observers of the field would choose them.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy
    /tmp/venv/bin/python tests/golden/calibration/make.py

Run by hand when a rule changes; the test reads what it wrote. The searches are written here plainly,
candidate by candidate and bin by bin, from the published rules:

    entropy, mse, percentile   pytorch-quantization, calib/histogram.py: start bin 128 of 2048
    percentile, affine         ONNX Runtime, PercentileCalibrater
    l2                         torch.ao.quantization.HistogramObserver; the walk of torch itself is
                               run on the same counts and must end in the same bins, but where f32
                               sums of counts move a quantile by a bin (printed)
    scales, moving averages    torch.ao's observers themselves (4 bits unsigned symmetric excepted:
                               torch puts its zero at 7, we at 8)

What differs from the field is the grid alone: bins are powers of two wide (1025 to 2048 of a side in
use), and the squared error is that of scale = max|x| / ((qmax - qmin) / 2) with codes -128..127, or of
the affine grid with its rounded zero point. The outer edge of all values is a cut-off too. Affine
windows are searched end by end, the upper first, until neither moves. Counts of few bins are spread
evenly within them.

Counts come from whole-number formulas that the test repeats (counts_of).
"""
import json
import math
import os

import numpy as np
import torch
from torch.ao.quantization import observer as ao

HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1


def counts_of(case, sign):
    """Counts of one side, from zero outwards."""
    bins, first, decay, used, spike, outliers = (case["bins"],) + tuple(case[sign])
    out = [0] * bins
    level, noise = first << 16, case["seed"] + (1 if sign == "low" else 0)
    for i in range(used):
        noise = (noise * 6364136223846793005 + 1442695040888963407) & MASK
        out[i] = (level >> 16) + (noise >> 40) % (1 + (level >> 20))
        level = level * decay >> 16
    if spike:
        out[0] += spike
    for k in range(outliers):
        out[used - 1 - k * k] += 1 + k
    return out


# side: first count, decay / 65536 a bin, bins in use, more at zero, outliers
CASES = [
    dict(name="laplace", seed=1, bins=2048, low=(60000, 65200, 1900, 0, 3), high=(60000, 65200, 1700, 0, 2)),
    dict(name="one sided", seed=2, bins=2048, low=(0, 0, 0, 0, 0), high=(40000, 65330, 2048, 900000, 4)),
    dict(name="skewed", seed=3, bins=2048, low=(90000, 63000, 160, 0, 1), high=(90000, 65400, 2000, 0, 1)),
    dict(name="far outliers", seed=4, bins=2048, low=(500000, 60000, 1300, 0, 5), high=(500000, 60000, 1500, 0, 5)),
    dict(name="even", seed=5, bins=2048, low=(700, 65536, 1100, 0, 0), high=(700, 65536, 1500, 0, 0)),
    dict(name="tail below", seed=6, bins=2048, low=(30000, 65500, 2048, 0, 0), high=(30000, 64000, 700, 0, 0)),
    dict(name="column", seed=7, bins=32, low=(3000, 52000, 30, 0, 1), high=(3000, 50000, 27, 0, 1)),
    dict(name="column above", seed=8, bins=32, low=(0, 0, 0, 0, 0), high=(2000, 56000, 32, 50, 1)),
]
GRIDS = [(8, True, True), (8, False, False), (8, True, False), (4, True, True), (4, False, False)]
BINS_MIN = 1024


def spread(case):
    """Fine counts of both sides, ascending values; fine bins of a side, fine bins of a bin."""
    step = max(1, BINS_MIN // case["bins"])
    low, high = (np.repeat(np.array(counts_of(case, s), dtype=np.float64) / step, step) for s in ("low", "high"))
    return np.concatenate([low[::-1], high]), case["bins"] * step, step


def used_bins(fine, side, step):
    low, high = fine[:side][::-1], fine[side:]
    return [0 if not s.any() else (int(np.nonzero(s)[0][-1]) // step + 1) for s in (low, high)]


def search(start, step, used, offset, wider, cost, even):
    """Least costly window (low, high) around zero; candidates from bin `start` of a side."""
    def candidates(n):
        return [(k + offset) * step for k in range(min(start, n - 1), n)] + [float(n * step)]

    def pick(costs, options):
        costs = np.array(costs)
        return options[len(costs) - 1 - int(np.argmin(costs[::-1])) if wider else int(np.argmin(costs))]

    if even:
        options = candidates(max(used))
        best = pick([cost(c, c) for c in options], options)
        return best, best
    low, high = (float(n * step) for n in used)
    for _ in range(4):
        before = (low, high)
        if used[1]:
            options = candidates(used[1])
            high = pick([cost(low, c) for c in options], options)
        if used[0]:
            options = candidates(used[0])
            low = pick([cost(c, high) for c in options], options)
        if (low, high) == before:
            break
    return low, high


def sixteenth(side, step):
    return max(side // step // 16, 1)


def fold(fine, side):
    return np.concatenate([np.zeros(side), fine[side:] + fine[:side][::-1]])


def entropy(case, bits, signed, symmetric):
    fine, side, step = spread(case)
    if symmetric:
        fine = fold(fine, side)
    levels = 1 << (bits - (1 if symmetric else 0))
    used = used_bins(fine, side, step)
    mass = fine.copy()
    mass[side:side + step] = fine[side + step:side + 2 * step]
    mass[side - step:side] = fine[side - 2 * step:side - step]

    def cost(low, high):
        a, b = side - int(low), side + int(high)
        if b == a:
            return math.inf
        inside = mass[a:b]
        level = (np.arange(b - a) * levels) // (b - a)
        held = np.bincount(level, weights=inside, minlength=levels)
        full = np.bincount(level, weights=inside > 0, minlength=levels)
        even = np.where(inside > 0, (held / np.maximum(full, 1))[level], 0.0)
        reference = inside.copy()
        reference[0] += mass[:a].sum()
        reference[-1] += mass[b:].sum()
        if even.sum() == 0 or ((reference > 0) & (even == 0)).any():
            return math.inf
        p, q = reference / reference.sum(), even / even.sum()
        keep = p > 0
        return float((p[keep] * np.log(p[keep] / q[keep])).sum())

    low, high = search(sixteenth(side, step), step, used, 0, True, cost, False)
    return -low, high


def mse(case, bits, signed, symmetric):
    fine, side, step = spread(case)
    used = used_bins(fine, side, step)
    middles = np.arange(2 * side) - side + 0.5
    edges = np.arange(2 * side + 1.0) - side
    qmin = -(1 << (bits - 1)) if signed else 0
    qmax = qmin + (1 << bits) - 1

    def cost(low, high):
        scale = max(low, high) / ((qmax - qmin) / 2) if symmetric else (low + high) / (qmax - qmin)
        zero = (0 if signed else 1 << (bits - 1)) if symmetric else qmin + np.rint(low / scale)
        if step == 1:
            codes = np.clip(np.rint(middles / scale) + zero, qmin, qmax)
            return float((((codes - zero) * scale - middles) ** 2 * fine).mean())
        ends = (np.arange(qmin, qmax) - zero + 0.5) * scale  # of codes: between two ends all is even
        cuts = np.unique(np.clip(np.concatenate([edges, ends]), -side, side))
        a, b = cuts[:-1], cuts[1:]
        codes = np.searchsorted(ends, (a + b) / 2) + qmin
        density = fine[np.floor((a + b) / 2 + side).astype(int)]
        value = (codes - zero) * scale
        return float((density * ((b - value) ** 3 - (a - value) ** 3) / 3).sum())

    low, high = search(sixteenth(side, step) if symmetric else 0, step, used, 0.5, False, cost, symmetric)
    return -low, high


def percentile(case, bits, signed, symmetric, percent=99.99):
    fine, side, _ = spread(case)
    if symmetric:
        fine = fold(fine, side)
    cdf = np.cumsum(fine / fine.sum())
    if symmetric:
        return None, max(float(np.searchsorted(cdf, percent / 100.0) - side), 1.0)
    cut = (100.0 - percent) / 200.0
    return float(np.searchsorted(cdf, cut) - side), float(np.searchsorted(cdf, 1.0 - cut) - side)


def l2(case, bits, signed, symmetric):
    fine, side, step = spread(case)
    used = np.nonzero(fine)[0]
    begin, end = used[0] // step * step, (used[-1] // step + 1) * step
    mass, levels = fine[begin:end], 1 << bits
    n, total, sums = len(mass), mass.sum(), np.cumsum(mass)

    def norm(first, last):
        width = (last - first + 1) / levels
        a = np.arange(n) - first
        b = a + 1
        la = np.clip(np.floor(a / width), 0, levels - 1)
        lb = np.clip(np.floor(b / width), 0, levels - 1)
        cube = lambda x, y: (y ** 3 - x ** 3) / 3
        return ((cube(a - (la + .5) * width, width / 2) + (lb - la - 1) * cube(-width / 2, width / 2) +
                 cube(-width / 2, b - (lb + .5) * width)) * mass).sum()

    alpha, beta, first, last, least = 0.0, 1.0, 0, n - 1, math.inf
    while alpha < beta:
        na, nb = alpha + 1e-5, beta - 1e-5
        left, right = first, last
        while left < last and sums[left] < na * total:
            left += 1
        while right > first and sums[right] > nb * total:
            right -= 1
        nf, nl = first, last
        if left - first > last - right:
            nf, alpha = left, na
        else:
            nl, beta = right, nb
        if (nf, nl) == (first, last):
            continue
        value = norm(nf, nl)
        if value > least:
            break
        least, first, last = value, nf, nl
    found = float(begin + first - side), float(begin + last + 1 - side)

    torch_one = ao.HistogramObserver(bins=n, dtype=torch.quint8)
    torch_one.dst_nbins = levels
    torch_one.histogram = torch.tensor(mass, dtype=torch.float32)
    torch_one.min_val, torch_one.max_val = torch.tensor(float(begin - side)), torch.tensor(float(end - side))
    theirs = tuple(float(x) for x in torch_one._non_linear_param_search())
    if theirs != found:
        print("%s, %d bits: torch's f32 walk ends at %s, in f64 at %s" % (case["name"], bits, theirs, found))
    return found


METHODS = {"percentile": percentile, "entropy": entropy, "mse": mse, "l2": l2}


def searches():
    rows = []
    for case in CASES:
        for bits, signed, symmetric in GRIDS:
            for name, method in METHODS.items():
                low, high = method(case, bits, signed, symmetric)
                if symmetric:
                    high = max(high, -(low or 0.0))
                    low = -high
                rows.append(dict(case=case["name"], method=name, bits=bits, signed=signed, symmetric=symmetric,
                                 low=low, high=high))
        print(case["name"])
    return rows


def scales():
    rows = []
    ranges = [(-1.0, 1.0), (-0.3, 2.7), (0.5, 6.0), (-4.0, -1.5), (0.0, 0.0), (-1e-9, 1e-9), (-3.25, 117.125),
              (-0.0041, 0.00399), (-511.3, 20.01)]
    for bits, signed, symmetric in [(8, s, y) for s in (True, False) for y in (True, False)] + \
            [(4, True, True), (4, True, False), (4, False, False), (7, True, False)]:
        qmin = -(1 << (bits - 1)) if signed else 0
        custom = {} if bits == 8 else dict(quant_min=qmin, quant_max=qmin + (1 << bits) - 1)
        for low, high in ranges:
            o = ao.MinMaxObserver(dtype=torch.qint8 if signed else torch.quint8,
                                  qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine, **custom)
            o(torch.tensor([low, high]))
            scale, zero = o.calculate_qparams()
            rows.append(dict(bits=bits, signed=signed, symmetric=symmetric, min=float(o.min_val), max=float(o.max_val),
                             scale=float(scale), zero=int(zero)))
    return rows


def averages():
    generator = torch.Generator().manual_seed(4)
    rows, columns = 40, 3
    x = torch.randn(rows, 8, columns, generator=generator) * torch.tensor([1.0, 30.0, 0.01])
    whole = ao.MovingAverageMinMaxObserver(averaging_constant=0.01)
    each = ao.MovingAveragePerChannelMinMaxObserver(averaging_constant=0.01, ch_axis=1)
    for row in x:
        whole(row)
        each(row)
    records = torch.stack([x.amin(1), x.amax(1)], dim=2)
    return dict(columns=columns, records=[float(v) for v in records.flatten()],
                whole=[float(whole.min_val), float(whole.max_val)],
                each=[float(v) for v in torch.stack([each.min_val, each.max_val], 1).flatten()])


def main():
    torch.set_num_threads(1)
    document = dict(cases=CASES, searches=searches(), scales=scales(), averages=averages())
    with open(os.path.join(HERE, "expected.json"), "w") as out:
        out.write("{\n")
        for i, key in enumerate(("cases", "searches", "scales")):
            out.write(' "%s": [\n  ' % key)
            out.write(",\n  ".join(json.dumps(row) for row in document[key]))
            out.write("\n ],\n")
        out.write(' "averages": %s\n}\n' % json.dumps(document["averages"]))


if __name__ == "__main__":
    main()
