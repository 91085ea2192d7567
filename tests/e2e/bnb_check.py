#!/usr/bin/env python3
"""bnb_check - whether the four-bit folders that `quantize:` writes hold bitsandbytes' own bytes.

For NF4 with and without double quantization and for FP4: every tensor of every quantized layer against what
bitsandbytes makes of the same weights: codes, absmax, maps, and the fields of the state; the nested offset, a mean in
f32, to one unit in its last place. Codes of absmax are held against bitsandbytes' general code, which takes the
nearest level: the table in its kernel for f32 on CPUs (0.50) takes the farther of two that are about as near.

Exits 77, saying why, when a package is missing. QFLEET_PYTHON names the interpreter that has them (a virtual
environment's).
"""
import json
import math
import os
import struct
import sys

from fleet import Scratch, check, data_folder, run_embedded, skip, write_recipe

BASE = "/models/TinyStories-656K"
KINDS = {"NF4 nested": {"scheme": "NF4"}, "NF4": {"scheme": "NF4", "double_quant": False}, "FP4": {"scheme": "FP4"}}
STATE = ".quant_state.bitsandbytes__"


def enter_interpreter():
    python = os.environ.get("QFLEET_PYTHON")
    if python and os.environ.get("BNB_CHECK_INNER") is None:
        os.execve(python, [python, os.path.abspath(__file__)], {**os.environ, "BNB_CHECK_INNER": "1"})
    try:
        import bitsandbytes, safetensors, torch  # noqa: F401
    except ImportError as error:
        skip("%s (pip install torch safetensors bitsandbytes)" % error)


def ordered(number):
    """Neighbouring f32 numbers have neighbouring places."""
    bits = struct.unpack("<i", struct.pack("<f", number))[0]
    return bits if bits >= 0 else -(bits & 0x7fffffff)


def check_state(name, ours, theirs):
    ours, theirs = (json.loads(bytes(tensor.tolist())) for tensor in (ours, theirs))
    offsets = [state.pop("nested_offset", 0.0) for state in (ours, theirs)]
    ours.pop("dtype"), theirs.pop("dtype")  # of the weights before: here they are handed over as f32
    check(ours == theirs, "%s: state %s; bitsandbytes has %s" % (name, ours, theirs))
    check(abs(ordered(offsets[0]) - ordered(offsets[1])) <= 1 and math.isfinite(offsets[0]),
          "%s: nested offset %r; bitsandbytes has %r" % (name, *offsets))


def compare(weights, made):
    """Returns the number of layers and of tensors that are equal."""
    import bitsandbytes.functional as bnb
    import torch
    layers, count = 0, 0
    for key in sorted(name for name in made if STATE in name):
        layer, kind = key.split(STATE)
        nested = layer + ".nested_absmax" in made
        codes, state = bnb.quantize_4bit(weights[layer].float(), blocksize=64, compress_statistics=nested,
                                         quant_type=kind)
        theirs = {layer: codes}
        if nested:
            scales = weights[layer].float().flatten().view(-1, 64).abs().amax(1) - state.offset
            state.absmax, _ = torch.ops.bitsandbytes.quantize_blockwise(scales.double(), state.state2.code, 256)
        theirs.update({layer + "." + name: value for name, value in state.as_dict(packed=True).items()})
        check(set(theirs) == {name for name in made if name == layer or name.startswith(layer + ".")},
              "%s: other tensors: %s" % (layer, sorted(theirs)))
        for name, tensor in theirs.items():
            if name == key:
                check_state(name, made[name], tensor)
            else:
                check(made[name].dtype == tensor.dtype and made[name].shape == tensor.shape
                      and torch.equal(made[name], tensor.cpu()), "%s differs" % name)
            count += 1
        layers += 1
    check(layers > 0, "no layer is quantized")
    return layers, count


def main():
    enter_interpreter()
    from safetensors.torch import load_file
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    weights = load_file(data + BASE + "/model.safetensors")
    with Scratch("bnb-check") as folder:
        for kind, quantize in KINDS.items():
            keys = {"base_model": data + BASE, "name": "bnb", "quantize": quantize, "output_dir": folder("out", kind)}
            write_recipe(folder("recipe.yml"), keys)
            run_embedded(folder("recipe.yml"))
            layers, count = compare(weights, load_file(folder("out", kind, "model.safetensors")))
            print("%-12s %d layers, %d tensors equal" % (kind, layers, count), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
