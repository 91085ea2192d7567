#!/usr/bin/env python3
"""quantized_check - whether quantized folders of ours load in transformers and give our logits.

    quantized_check.py BASE PROGRAM [KIND ...]    PROGRAM: quantized_check_sample

For each kind (all of PROGRAM's, or those named) PROGRAM makes a folder of the model in BASE and the
logits that our engine has of it. Checks, without our own code: that transformers, with
compressed-tensors or bitsandbytes, loads the folder without missing or unexpected tensors, that the
layers are quantized there, and that the logits agree. Exits 77, saying why, when BASE or a package
is missing. QFLEET_PYTHON names the interpreter that has them (a virtual environment's).
"""
import json
import os
import subprocess
import sys
import tempfile
import warnings

TOLERANCE = 2e-4
# Where inputs are rounded, two sums in f32 may lie on two sides of a tie, a whole step between them:
# there the difference is held against what rounding inputs does as a whole.
TOLERANCE_ROUNDED, SHARE_OF_ROUNDING = 0.5, 0.4


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def expect(condition, what):
    if not condition:
        print("FAILED: " + what)
        sys.exit(1)


def load(folder, config):
    import torch
    import transformers
    # Layers that stay compressed are laid out without packing their zero points (compressed-tensors
    # 0.20), which its own files and vLLM's have packed; decompressed at once, they are read.
    groups = config.get("config_groups", {}).values()
    affine = any(not group["weights"]["symmetric"] for group in groups)
    more = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)} if affine else {}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, device_map="cpu", **more)
    expect(not info["missing_keys"], "missing: %s" % list(info["missing_keys"])[:5])
    expect(not info["unexpected_keys"], "unexpected: %s" % list(info["unexpected_keys"])[:5])
    for module in model.modules():
        # Where the processor has AVX-512 BF16, bitsandbytes multiplies in bf16 whatever the inputs are.
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def check(folder, name):
    import torch
    from safetensors.torch import load_file
    with open(os.path.join(folder, "model", "config.json"), encoding="utf-8") as f:
        config = json.load(f)["quantization_config"]
    model = load(os.path.join(folder, "model"), config)
    ours = load_file(os.path.join(folder, "logits.safetensors"))

    def logits():
        with torch.no_grad():
            return model(ours["input_ids"].unsqueeze(0)).logits[0]

    theirs = logits()
    far = (theirs - ours["logits"]).abs()
    groups = config.get("config_groups", {}).values()
    if not any(group["input_activations"] for group in groups):
        print("%-14s largest difference %.2e" % (name, far.max()), flush=True)
        expect(far.max() <= TOLERANCE, "logits of " + name)
        return
    for module in model.modules():
        module.quantization_enabled = False
    rounding = (logits() - theirs).abs().mean()
    print("%-14s largest difference %.2e, mean %.2e; of rounding inputs %.2e" %
          (name, far.max(), far.mean(), rounding), flush=True)
    expect(far.max() <= TOLERANCE_ROUNDED, "logits of " + name)
    expect(0 < rounding and far.mean() <= SHARE_OF_ROUNDING * rounding, "logits of " + name)


def main(arguments):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # nothing is compiled
    python = os.environ.get("QFLEET_PYTHON")
    if python and os.environ.get("QUANTIZED_CHECK_INNER") is None:
        os.execve(python, [python, __file__] + arguments,
                  {**os.environ, "QUANTIZED_CHECK_INNER": "1"})
    if len(arguments) < 2:
        print(__doc__)
        sys.exit(2)
    base, program, names = arguments[0], arguments[1], arguments[2:]
    if not os.path.isdir(base):
        skip("%s is not there" % base)
    try:
        import accelerate, bitsandbytes, compressed_tensors, torch, transformers  # noqa: F401
    except ImportError as error:
        skip("%s (pip install torch transformers accelerate compressed-tensors bitsandbytes)" % error)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names = names or subprocess.run([program], check=True, capture_output=True,
                                    text=True).stdout.split()
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            made = subprocess.run([program, base, folder, name], check=False)
            expect(made.returncode == 0, "%s cannot be made" % name)
            check(folder, name)


if __name__ == "__main__":
    main(sys.argv[1:])
