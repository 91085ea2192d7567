#!/usr/bin/env python3
"""peft_check - whether an adapter folder of ours loads in PEFT and gives our logits there.

    peft_check.py BASE ADAPTER LOGITS      LOGITS: safetensors with input_ids (T) and logits (T, V)
    peft_check.py BASE --sample PROGRAM    PROGRAM (peft_check_sample) makes adapter and logits
    peft_check.py FOLDER --families PROGRAM    the same for every model folder below FOLDER, also
                                 with adapters on parts of fused modules, for a tuned prompt and
                                 for the whole model

Checks, without our own code: keys, shapes and types of the tensors; the keys of the config; the
front matter of the card; that PEFT loads every tensor and saves the same ones; that the logits
agree within 1e-4 and that the adapter changes them. Exits 77, saying why, when BASE or the Python
packages torch, peft, transformers and safetensors are missing. QFLEET_PYTHON names the interpreter
that has them (a virtual environment's).
"""
import json
import os
import subprocess
import sys
import tempfile
import warnings

TOLERANCE = 1e-4
# BitNet rounds activations to 8 bits: where two sums in f32 lie on two sides of a tie, a whole
# step is between them.
TOLERANCE_ROUNDED = 0.1
PREFIX = "base_model.model."
CONFIG_KEYS = set(
    """alpha_pattern auto_mapping base_model_name_or_path bias fan_in_fan_out inference_mode
    init_lora_weights layer_replication layers_pattern layers_to_transform loftq_config lora_alpha
    lora_dropout megatron_config megatron_core modules_to_save peft_type r rank_pattern revision
    target_modules task_type use_dora use_rslora""".split())


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def expect(condition, what):
    if not condition:
        print("FAILED: " + what)
        sys.exit(1)


def check_config(folder):
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as f:
        text = f.read()
    config = json.loads(text)
    expect(set(config) == CONFIG_KEYS,
           "keys of adapter_config.json: %s" % sorted(set(config) ^ CONFIG_KEYS))
    expect(text == json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
           "adapter_config.json is not what json.dumps(indent=2, sort_keys=True) prints")
    expect(config["peft_type"] == "LORA" and config["task_type"] == "CAUSAL_LM", "peft_type")
    expect(config["base_model_name_or_path"], "base_model_name_or_path is missing")
    expect(config["target_modules"] == sorted(set(config["target_modules"])), "target_modules")
    return config


def check_card(folder, config):
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as f:
        parts = f.read().split("---\n")
    expect(len(parts) >= 3 and parts[0] == "", "README.md has no front matter")
    import yaml  # comes with transformers
    front = yaml.safe_load(parts[1])
    expect(front["base_model"] == config["base_model_name_or_path"], "base_model of README.md")
    expect(front["library_name"] == "peft" and "lora" in front["tags"], "front matter of README.md")


def sizes(module):
    """(out, in) of a linear module; GPT-2's Conv1D holds its weight turned; of a lookup (width, vocabulary)."""
    if hasattr(module, "out_features"):
        return module.out_features, module.in_features
    if hasattr(module, "num_embeddings"):
        return module.embedding_dim, module.num_embeddings
    return module.nf, module.nx


def fits(name, ending):
    return name == ending or name.endswith("." + ending)


def pattern_of(patterns, module, otherwise):
    """PEFT's rule: of the patterns that a module's name ends in, the first."""
    return next((value for key, value in patterns.items() if fits(module, key)), otherwise)


ENDINGS = (("lora_A.weight", "A"), ("lora_B.weight", "B"), ("lora_embedding_A", "A"),
           ("lora_embedding_B", "B"), ("lora_magnitude_vector", "magnitude"))


def check_saved(key, tensor, base, config):
    """A tensor of modules_to_save: named and shaped as in the base."""
    module = key.rsplit(".", 1)[0]
    expect(any(module.endswith(s) for s in config["modules_to_save"] or []), "not to save: " + key)
    own = dict(base.named_parameters(remove_duplicate=False))[key]
    expect(own.shape == tensor.shape, key + ": shape")


def check_tensors(tensors, base, config):
    """Every key, shape and type by the format's rules, against the modules of the base model."""
    modules = {name: m for name, m in base.named_modules() if name}
    seen = {}
    for key, tensor in tensors.items():
        expect(key.startswith(PREFIX) and str(tensor.dtype) == "torch.float32", "key " + key)
        key = key[len(PREFIX):]
        ending = next((e for e in ENDINGS if key.endswith("." + e[0])), None)
        if ending is None:
            check_saved(key, tensor, base, config)
            continue
        module, half = key[:-len(ending[0]) - 1], ending[1]
        expect(module in modules, "no module " + module)
        expect(any(fits(module, t) for t in config["target_modules"]), "not a target: " + module)
        expect(("embedding" in key) == hasattr(modules[module], "num_embeddings"), "key " + key)
        out, inner = sizes(modules[module])
        rank = pattern_of(config["rank_pattern"], module, config["r"])
        shape = {"A": (rank, inner), "B": (out, rank), "magnitude": (out,)}[half]
        expect(tuple(tensor.shape) == shape, "%s: shape %s" % (key, tuple(tensor.shape)))
        seen.setdefault(module, set()).add(half)
    halves = {"A", "B", "magnitude"} if config["use_dora"] else {"A", "B"}
    expect(all(s == halves for s in seen.values()), "pairs")
    for target in config["target_modules"]:
        expect(all(m in seen for m in modules if fits(m, target)), "target without tensors: " + target)


def kind_of(config):
    words = ["rsLoRA" if config["use_rslora"] else "LoRA"]
    for key in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save"):
        words += [key] if config[key] else []
    return ", ".join(words)


def check(base_folder, adapter_folder, logits_file):
    import torch
    from peft import PeftModel
    from safetensors import safe_open
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    config = check_config(adapter_folder)
    check_card(adapter_folder, config)
    weights = os.path.join(adapter_folder, "adapter_model.safetensors")
    with safe_open(weights, "pt") as f:
        expect(f.metadata() == {"format": "pt"}, "__metadata__ of adapter_model.safetensors")
    tensors = load_file(weights)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32,
                                                attn_implementation="eager").eval()
    torch.nn.Module.float(base)  # packed ternary weights come out as the file's bf16
    tolerance = TOLERANCE_ROUNDED if base.config.model_type == "bitnet" else TOLERANCE
    check_tensors(tensors, base, config)

    wanted = load_file(logits_file)
    ids = wanted["input_ids"].long().unsqueeze(0)
    with torch.no_grad():
        untouched = base(ids).logits[0]
        model = PeftModel.from_pretrained(base, adapter_folder)
        model.eval()
        found = model(ids).logits[0]
    difference = (found - wanted["logits"]).abs().max().item()
    effect = (found - untouched).abs().max().item()
    print("largest difference of a logit %.2e, effect of the adapter %.2e" % (difference, effect))
    expect(effect > 100 * TOLERANCE and effect > 2 * tolerance, "the adapter has no effect: PEFT did not take its tensors")
    expect(difference <= tolerance, "logits differ")
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again, save_embedding_layers=False)
        saved = load_file(os.path.join(again, "adapter_model.safetensors"))
    expect(set(saved) == set(tensors), "PEFT saves other keys: %s" % (set(saved) ^ set(tensors)))
    for key, tensor in tensors.items():
        expect(torch.equal(tensor, saved[key]), "PEFT saves another " + key)
    print("ok: %d tensors, %s" % (len(tensors), kind_of(config)))


def check_prompt(base_folder, adapter_folder, logits_file):
    """A tuned prompt of ours: PEFT takes it, saves it again, and gives our logits behind it."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    with open(os.path.join(adapter_folder, "adapter_config.json"), encoding="utf-8") as f:
        text = f.read()
    config = json.loads(text)
    expect(text == json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
           "adapter_config.json is not what json.dumps(indent=2, sort_keys=True) prints")
    tensors = load_file(os.path.join(adapter_folder, "adapter_model.safetensors"))
    expect(set(tensors) == {"prompt_embeddings"}, "keys %s" % sorted(tensors))
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32,
                                                attn_implementation="eager").eval()
    torch.nn.Module.float(base)
    tolerance = TOLERANCE_ROUNDED if base.config.model_type == "bitnet" else TOLERANCE
    wanted = load_file(logits_file)
    ids = wanted["input_ids"].long().unsqueeze(0)
    with torch.no_grad():
        untouched = base(ids).logits[0]
        model = PeftModel.from_pretrained(base, adapter_folder).eval()
        found = model(ids).logits[0]
    vectors = config["num_virtual_tokens"]
    expect(found.shape[0] == vectors + ids.shape[1], "PEFT runs %d places" % found.shape[0])
    difference = (found[vectors:] - wanted["logits"]).abs().max().item()
    effect = (found[vectors:] - untouched).abs().max().item()
    print("prompt: largest difference of a logit %.2e, effect of the prompt %.2e" %
          (difference, effect))
    expect(effect > 2 * tolerance, "the prompt has no effect")
    expect(difference <= tolerance, "logits differ")
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        saved = load_file(os.path.join(again, "adapter_model.safetensors"))
    expect(set(saved) == set(tensors) and
           torch.equal(saved["prompt_embeddings"], tensors["prompt_embeddings"]),
           "PEFT saves another prompt")
    print("ok: %d vectors" % vectors)


def check_model(folder, logits_file):
    """A whole model of ours: every key known and filled, and our logits."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        expect(not info[kind], "%s: %s" % (kind, info[kind]))
    wanted = load_file(logits_file)
    with torch.no_grad():
        found = model.eval()(wanted["input_ids"].long().unsqueeze(0)).logits[0]
    difference = (found - wanted["logits"]).abs().max().item()
    print("ok: whole model, largest difference of a logit %.2e" % difference)
    expect(difference <= TOLERANCE, "logits differ")


def sample(base, program, variant):
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([program, base, folder, variant], check=False)
        if made.returncode == 77:
            return
        expect(made.returncode == 0, "%s ended with %d" % (program, made.returncode))
        logits = os.path.join(folder, "logits.safetensors")
        if variant == "full":
            check_model(os.path.join(folder, "model"), logits)
        elif variant == "prompt":
            check_prompt(base, os.path.join(folder, "adapter"), logits)
        else:
            check(base, os.path.join(folder, "adapter"), logits)


def sample_families(folder, program):
    for name in sorted(os.listdir(folder)):
        base = os.path.join(folder, name)
        if not os.path.exists(os.path.join(base, "model.safetensors")):
            continue
        print("--- %s" % name, flush=True)
        with open(os.path.join(base, "config.json"), encoding="utf-8") as f:
            quantized = json.load(f).get("quantization_config", {})
        if quantized.get("linear_class") == "bitlinear":
            print("skipped: PEFT adapts no BitLinear")
            continue
        for variant in ("lora", "parts", "dora", "saved", "embeddings", "prompt",
                        "full"):
            sample(base, program, variant)


def main(arguments):
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # nothing is compiled
    python = os.environ.get("QFLEET_PYTHON")
    if python and os.environ.get("PEFT_CHECK_INNER") is None:
        os.execve(python, [python, __file__] + arguments,
                  {**os.environ, "PEFT_CHECK_INNER": "1"})
    if len(arguments) != 3:
        print(__doc__)
        sys.exit(2)
    if not os.path.isdir(arguments[0]):
        skip("%s is not there" % arguments[0])
    try:
        import peft, safetensors, torch, transformers  # noqa: F401
    except ImportError as error:
        skip("%s (pip install torch peft transformers)" % error)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if arguments[1] == "--families":
        sample_families(arguments[0], arguments[2])
    elif arguments[1] == "--sample":
        for variant in ("lora", "rslora", "dora", "patterns", "saved", "embeddings", "anchor",
                        "prompt"):
            sample(arguments[0], arguments[2], variant)
    else:
        check(*arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
