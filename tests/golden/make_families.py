#!/usr/bin/env python3
"""make_families - writes the golden files of the model families, tests/golden/families/<name>/.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers peft
    /tmp/venv/bin/python tests/golden/make_families.py [NAME ...]      all, or those named

Run by hand when a family is added; the tests read what it wrote and need no Python. Each family is
a model of a few thousand random weights, made and run by the reference library (transformers), with
an adapter made by PEFT on every module that PEFT's "all-linear" takes. A folder holds

    config.json           as models of the family are published
    config.v5.json        the same as transformers 5 writes it (rope_parameters, dtype)
    config.*.json         other spellings of the same model
    model.safetensors     weights that are exact in the type they are stored in
    adapter/              the adapter, as PEFT saves it (r 2, alpha 3, neither A nor B zero)
    expected.safetensors  input_ids.N and loss_mask.N (T): sequence N, which tokens are predicted;
                          positions.N (P) and logits.N (P, V): the model's logits at those tokens;
                          base_loss, adapter_loss (2): summed over a sequence's predicted tokens,
                          without and with the adapter; <key of the adapter>: gradient of the sum of
                          both losses with the adapter

Sequence 0 is longer than every window, original context and key block; sequence 1 is short. The
reference computes in float64 throughout: where the library says float32, it is given float64. For
each family the script also checks that every option of its config moves the logits, so that a
reader who ignores one cannot pass.
"""
import copy
import json
import math
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # BitNet's quantizers ask to be compiled

import torch  # noqa: E402
import transformers  # noqa: E402
import peft  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "families")
RANK, ALPHA = 2, 3
LENGTHS, BITNET_LENGTHS = (77, 11), (26, 7)
COMPARED = 16  # positions of a long sequence whose logits are kept
# BitNet rounds: least distances to a tie of scaled weights and activations, so that f32 cannot
# round another way.
WEIGHT_TIE_MARGIN, ACTIVATION_TIE_MARGIN = 1e-5, 1.5e-4


class Double(TorchFunctionMode):
    """float64 wherever the library asks for float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def widen(x):
            return torch.float64 if x is torch.float32 else x

        if func is torch.Tensor.float:
            return args[0].double()
        kwargs = {key: widen(value) for key, value in (kwargs or {}).items()}
        return func(*[widen(x) for x in args], **kwargs)


# ---- the families ----

LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_act="silu",
             hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=40, max_position_embeddings=128, rms_norm_eps=1e-5,
             rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="bfloat16",
             bos_token_id=1, eos_token_id=2)
LLAMA3_ROPE = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 16, "rope_type": "llama3"}


def like(base, **changes):
    config = copy.deepcopy(base)
    config.update(changes)
    return {key: value for key, value in config.items() if value != "absent"}


MISTRAL = like(LLAMA, model_type="mistral", architectures=["MistralForCausalLM"], head_dim=8,
               sliding_window=9)
GEMMA = like(LLAMA, model_type="gemma", architectures=["GemmaForCausalLM"], hidden_act="gelu",
             head_dim=8, num_key_value_heads=1, rms_norm_eps=1e-6, pad_token_id=0, bos_token_id=2,
             eos_token_id=1, tie_word_embeddings="absent")
GEMMA2 = like(GEMMA, model_type="gemma2", architectures=["Gemma2ForCausalLM"], hidden_act="absent",
              hidden_activation="gelu_pytorch_tanh", num_key_value_heads=2, sliding_window=9,
              num_hidden_layers=3, query_pre_attn_scalar=12, attn_logit_softcapping=2.0,
              final_logit_softcapping=3.0)
GEMMA3 = like(GEMMA2, model_type="gemma3_text", architectures=["Gemma3ForCausalLM"],
              attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window_pattern=3,
              rope_theta=1000000.0, rope_local_base_freq=100.0, num_hidden_layers=3,
              rope_scaling={"factor": 8.0, "rope_type": "linear"})
PHI = like(LLAMA, model_type="phi", architectures=["PhiForCausalLM"], hidden_act="gelu_new",
           hidden_size=30, num_attention_heads=3, num_key_value_heads=3, partial_rotary_factor=0.4,
           layer_norm_eps=1e-5, rms_norm_eps="absent", qk_layernorm=False, torch_dtype="float16",
           resid_pdrop=0.1, embd_pdrop=0.0, attention_dropout=0.0)
PHI3 = like(LLAMA, model_type="phi3", architectures=["Phi3ForCausalLM"], rope_scaling=None,
            sliding_window=2047, pad_token_id=0)
PHI35 = like(PHI3, sliding_window=262144, original_max_position_embeddings=32,
             max_position_embeddings=256,
             rope_scaling={"type": "longrope", "short_factor": [1.0, 1.25, 2.0],
                           "long_factor": [1.5, 4.0, 9.0]})
FALCON = dict(model_type="falcon", architectures=["FalconForCausalLM"], hidden_size=24,
              num_hidden_layers=2, num_attention_heads=3, vocab_size=40, layer_norm_epsilon=1e-5,
              ffn_hidden_size=32, alibi=False, bias=False, multi_query=True, parallel_attn=True,
              new_decoder_architecture=False, max_position_embeddings=128, rope_theta=10000.0,
              torch_dtype="bfloat16", bos_token_id=11, eos_token_id=11)
QWEN2 = like(LLAMA, model_type="qwen2", architectures=["Qwen2ForCausalLM"], rope_theta=1000000.0,
             use_sliding_window=False, sliding_window=8, max_window_layers=1)
GPT2 = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], activation_function="gelu_new",
            n_embd=24, n_layer=2, n_head=4, n_positions=80, n_ctx=80, vocab_size=40,
            layer_norm_epsilon=1e-5, torch_dtype="float32", bos_token_id=0, eos_token_id=0,
            n_inner=28, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
BITNET = like(LLAMA, model_type="bitnet", architectures=["BitNetForCausalLM"], hidden_act="relu2",
              rope_theta=500000.0, tie_word_embeddings=True,
              quantization_config={"quant_method": "bitnet", "linear_class": "autobitlinear",
                                   "quantization_mode": "online"})

# name -> (config, options that must matter: changes of the config, other spellings of the config)
FAMILIES = {
    "llama2": (like(LLAMA, num_key_value_heads=4, torch_dtype="float16", rope_scaling=None),
               [dict(rms_norm_eps=1e-2)], {}),
    "llama3": (like(LLAMA, rope_theta=500000.0, num_key_value_heads=1), [dict(rope_theta=1e4)], {}),
    "llama31": (like(LLAMA, rope_theta=500.0, rope_scaling=LLAMA3_ROPE, head_dim=8,
                     tie_word_embeddings=True),
                [dict(rope_scaling=None),
                 dict(rope_scaling=like(LLAMA3_ROPE, factor=4.0)),
                 dict(rope_scaling=like(LLAMA3_ROPE, high_freq_factor=2.0)),
                 dict(rope_scaling=like(LLAMA3_ROPE, original_max_position_embeddings=32))], {}),
    "llama-linear-rope": (like(LLAMA, rope_scaling={"type": "linear", "factor": 3.0},
                               attention_bias=True, mlp_bias=True),
                          [dict(rope_scaling=None)], {}),
    "llama-yarn": (like(LLAMA, num_attention_heads=2, num_key_value_heads=1, rope_theta=50.0,
                        rope_scaling={"type": "yarn", "factor": 4.0,
                                      "original_max_position_embeddings": 32,
                                      "beta_fast": 2, "beta_slow": 0.25}),
                   [dict(rope_scaling=None),
                    dict(rope_scaling={"type": "yarn", "factor": 4.0,
                                       "original_max_position_embeddings": 32}),
                    dict(rope_scaling={"type": "linear", "factor": 4.0})], {}),
    "mistral": (MISTRAL, [dict(sliding_window=None), dict(sliding_window=10)], {}),
    "gemma": (GEMMA, [],
              {"activation": like(GEMMA, hidden_activation="gelu_pytorch_tanh")}),
    "gemma2": (GEMMA2, [dict(sliding_window=10), dict(query_pre_attn_scalar=8),
                        dict(attn_logit_softcapping=None), dict(final_logit_softcapping=None)], {}),
    "gemma3_text": (GEMMA3, [dict(sliding_window=10), dict(query_pre_attn_scalar=8),
                             dict(sliding_window_pattern=2), dict(rope_theta=10000.0),
                             dict(rope_local_base_freq=10000.0), dict(rope_scaling=None)],
                    {"multimodal": dict(model_type="gemma3", text_config=GEMMA3,
                                        architectures=["Gemma3ForConditionalGeneration"])}),
    "phi2": (PHI, [dict(partial_rotary_factor=1.0)], {}),
    "phi3": (like(PHI3, sliding_window=9), [dict(sliding_window=10), dict(sliding_window=2047)],
             {}),
    "phi35": (PHI35, [dict(original_max_position_embeddings=77),
                      dict(original_max_position_embeddings=8),
                      dict(max_position_embeddings=128)],
              {"su": like(PHI35, rope_scaling=like(PHI35["rope_scaling"], type="su"))}),
    "falcon7b": (FALCON, [],
                 {"refinedweb": like(FALCON, model_type="RefinedWebModel", n_layer=2, n_head=3,
                                     architectures=["RWForCausalLM"], num_hidden_layers="absent",
                                     num_attention_heads="absent", rope_theta="absent",
                                     new_decoder_architecture="absent")}),
    "falcon-new": (like(FALCON, new_decoder_architecture=True, num_attention_heads=6,
                        num_kv_heads=2, multi_query=True),
                   [],
                   {"refinedweb": like(FALCON, model_type="RefinedWeb", n_layer=2, n_head=6,
                                       n_head_kv=2, architectures=["RWForCausalLM"],
                                       num_hidden_layers="absent", num_attention_heads="absent",
                                       rope_theta="absent", multi_query="absent",
                                       new_decoder_architecture="absent")}),
    "falcon-11b": (like(FALCON, new_decoder_architecture=True, num_attention_heads=6,
                        num_kv_heads=3, num_ln_in_parallel_attn=1, activation="gelu"), [], {}),
    "qwen2": (QWEN2, [], {}),
    "qwen25": (like(QWEN2, tie_word_embeddings=True, num_key_value_heads=1, torch_dtype="float32",
                    use_sliding_window=True, sliding_window=9),
               [dict(use_sliding_window=False), dict(max_window_layers=0)], {}),
    "qwen3": (like(LLAMA, model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=8,
                   rope_theta=1000000.0, tie_word_embeddings=True, rms_norm_eps=1e-6,
                   attention_bias=False, use_sliding_window=False, sliding_window=None), [], {}),
    "gpt2": (GPT2, [], {}),
    "bitnet": (BITNET, [], {}),
    "bitnet-packed": (like(BITNET, quantization_config={
        "quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"}),
        [], {}),
    "bitnet-packed-auto": (like(BITNET, quantization_config={
        "quant_method": "bitnet", "linear_class": "autobitlinear",
        "quantization_mode": "offline"}), [], {}),
}
REFUSED = {
    "falcon-rw": like(FALCON, alibi=True, multi_query=False, parallel_attn=False, bias=True),
}


# ---- making a model ----

def config_of(fields):
    fields = {key: value for key, value in copy.deepcopy(fields).items()
              if key not in ("architectures", "torch_dtype", "quantization_config")}
    if fields.get("rope_scaling", {}) and fields["rope_scaling"].get("type") == "su":
        fields["rope_scaling"]["type"] = "longrope"
    return transformers.AutoConfig.for_model(**fields)


def storage_type(fields):
    return getattr(torch, fields["torch_dtype"])


def round_to(tensor, dtype):
    return tensor.to(dtype).to(torch.float64)


def make_bitnet(model, fields):
    """Quantizing layers in place of the linear ones, as the library does when it loads a file."""
    from transformers.integrations.bitnet import replace_with_bitnet_linear
    from transformers.utils.quantization_config import BitNetQuantConfig
    online = fields["quantization_config"]["quantization_mode"] == "online"
    # The packed forms are computed with the layer whose gradient is defined; what the other one
    # does with weight_scale is in the weights: see pack().
    config = BitNetQuantConfig(linear_class="autobitlinear",
                               quantization_mode="online" if online else "offline")
    replace_with_bitnet_linear(model, ["lm_head"], config)
    for module in model.modules():
        if type(module).__name__ == "AutoBitLinear":
            module.to_empty(device="cpu")
            if not online:
                module.weight_scale = torch.ones(1, dtype=torch.float64)


def make_model(fields):
    with Double():
        model = transformers.AutoModelForCausalLM.from_config(config_of(fields),
                                                              attn_implementation="eager")
    if "quantization_config" in fields:
        make_bitnet(model, fields)
    return model.double().eval()


def fill(model, fields, seed):
    """Random weights of a size that makes every part matter: scores and gains away from 0 and 1."""
    random = torch.Generator().manual_seed(seed)
    dtype, shifted = storage_type(fields), fields["model_type"].startswith("gemma")
    tied = model.config.tie_word_embeddings
    embedding = 1 / math.sqrt(model.config.hidden_size) if tied else 0.8
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=random, dtype=torch.float64)
            if value.dim() == 1 and name.endswith("bias"):
                noise *= 0.3
            elif value.dim() == 1:
                noise = noise * 0.3 + (0 if shifted else 1)
            elif "embed" in name or "wte" in name or "wpe" in name:
                noise *= embedding
            else:
                inner = value.shape[0] if fields["model_type"] == "gpt2" else value.shape[1]
                noise *= 1.4 / math.sqrt(inner)
            value.copy_(round_to(noise, dtype))
        if fields.get("quantization_config", {}).get("quantization_mode") == "offline":
            for module in model.modules():
                if type(module).__name__ == "AutoBitLinear":
                    ternarize(module, fields)


def divides(fields):
    return fields["quantization_config"]["linear_class"] == "bitlinear"


def ternarize(module, fields):
    """Weight in {-1, 0, 1} and the scale that the file's convention can hold exactly."""
    scale = module.weight.abs().mean()
    module.weight.copy_((module.weight / scale).round().clamp(-1, 1))
    dtype = storage_type(fields)
    module.weight_scale = (1 / round_to(1 / scale, dtype) if divides(fields)
                           else round_to(scale, dtype)).reshape(1)


def pack(fields, module):
    """uint8 (out / 4, in): two bits a value, value + 1; rows [i * out / 4, ...) in bits 2i."""
    rows = module.weight.shape[0] // 4
    codes = (module.weight.detach() + 1).to(torch.uint8)
    packed = sum(codes[i * rows:(i + 1) * rows] << (2 * i) for i in range(4)).to(torch.uint8)
    scale = 1 / module.weight_scale if divides(fields) else module.weight_scale
    return packed, scale.to(storage_type(fields))


def weights_of(model, fields):
    tensors = {name: value.detach().to(storage_type(fields)).contiguous()
               for name, value in model.named_parameters()}
    if fields.get("quantization_config", {}).get("quantization_mode") == "offline":
        for name, module in model.named_modules():
            if type(module).__name__ == "AutoBitLinear":
                tensors[name + ".weight"], tensors[name + ".weight_scale"] = pack(fields, module)
    return tensors


def add_adapter(model, name, seed):
    model.name_or_path = name
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear",
                             task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(model, config).double().eval()
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if ".lora_" in name:
                noise = torch.randn(value.shape, generator=random, dtype=torch.float64) * 0.2
                value.copy_(round_to(noise, torch.bfloat16))
    return wrapped


def copy_weights(model, wrapped):
    state = model.state_dict()
    with torch.no_grad():
        for key, value in wrapped.get_base_model().state_dict().items():
            if ".lora_" not in key:
                value.copy_(state[key.replace(".base_layer", "")])


# ---- running it ----

def sequences(fields, seed):
    random = torch.Generator().manual_seed(seed)
    for length in BITNET_LENGTHS if fields["model_type"] == "bitnet" else LENGTHS:
        ids = torch.randint(0, fields["vocab_size"], (length,), generator=random)
        mask = torch.rand(length, generator=random) < 0.8
        mask[1] = True
        yield ids, mask.to(torch.uint8)


def loss_sum(logits, ids, mask):
    each = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
    return (each * mask[1:]).sum()


def logits_of(model, ids):
    with Double():
        return model(ids.unsqueeze(0), use_cache=False).logits[0]


def compared_positions(length):
    if length <= COMPARED:
        return torch.arange(length, dtype=torch.int32)
    return torch.linspace(0, length - 1, COMPARED).round().to(torch.int32)


class TieWatch(TorchFunctionMode):
    """Whether anything that is rounded lies near a tie."""
    near = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.round:
            x = args[0].detach()
            margin = WEIGHT_TIE_MARGIN if x.dim() == 2 else ACTIVATION_TIE_MARGIN
            self.near |= (x - x.floor() - 0.5).abs().min().item() < margin
        return func(*args, **(kwargs or {}))


def near_tie(model, fields):
    with TieWatch() as watch, torch.no_grad():
        for ids, _ in sequences(fields, 1):
            logits_of(model, ids)
    return watch.near


def expected(model, wrapped, fields):
    out, base_loss, adapter_loss = {}, [], []
    total = 0
    for n, (ids, mask) in enumerate(sequences(fields, 1)):
        with torch.no_grad(), wrapped.disable_adapter():
            logits = logits_of(wrapped, ids)
        base_loss.append(loss_sum(logits, ids, mask).item())
        positions = compared_positions(len(ids))
        out["input_ids.%d" % n] = ids.to(torch.int32)
        out["loss_mask.%d" % n] = mask
        out["positions.%d" % n] = positions
        out["logits.%d" % n] = logits[positions.long()].to(torch.float32)
        loss = loss_sum(logits_of(wrapped, ids), ids, mask)
        adapter_loss.append(loss.item())
        total = total + loss
    total.backward()
    for name, value in wrapped.named_parameters():
        if ".lora_" in name:
            assert value.grad.abs().max() > 1e-3, "no gradient: " + name
            out[name.replace(".default.", ".")] = value.grad.to(torch.float32).contiguous()
    out["base_loss"] = torch.tensor(base_loss, dtype=torch.float64)
    out["adapter_loss"] = torch.tensor(adapter_loss, dtype=torch.float64)
    return out


def check_sensitivity(model, fields, options):
    weights = model.state_dict()
    ids, _ = next(sequences(fields, 1))
    with torch.no_grad():
        wanted = logits_of(model, ids)
        for change in options:
            other = make_model(like(fields, **change))
            other.load_state_dict(weights)
            moved = (logits_of(other, ids) - wanted).abs().max().item()
            print("    %s moves a logit by %.3f" % (change, moved))
            assert moved > 1e-2 or "rms_norm_eps" in change and moved > 1e-3


def write_json(path, fields):
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def write_configs(folder, fields, spellings):
    write_json(os.path.join(folder, "config.json"), fields)
    v5 = config_of(fields)
    v5.architectures = fields["architectures"]
    v5.dtype = fields["torch_dtype"]
    written = json.loads(v5.to_json_string(use_diff=False))
    written.pop("transformers_version", None)
    if "quantization_config" in fields:
        written["quantization_config"] = fields["quantization_config"]
    write_json(os.path.join(folder, "config.v5.json"), written)
    for name, spelling in spellings.items():
        write_json(os.path.join(folder, "config.%s.json" % name), spelling)


def make(name):
    fields, options, spellings = FAMILIES[name]
    folder = os.path.join(FOLDER, name)
    os.makedirs(os.path.join(folder, "adapter"), exist_ok=True)
    print(name)
    model = make_model(fields)
    wrapped = add_adapter(make_model(fields), name, 1)
    for seed in range(10000):
        fill(model, fields, seed)
        copy_weights(model, wrapped)
        if "quantization_config" not in fields or not (near_tie(model, fields) or
                                                       near_tie(wrapped, fields)):
            break
    check_sensitivity(model, fields, options)
    notes = {"torch": torch.__version__, "transformers": transformers.__version__,
             "peft": peft.__version__}
    save_file(weights_of(model, fields), os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})
    results = expected(model, wrapped, fields)
    save_file(results, os.path.join(folder, "expected.safetensors"), metadata=notes)
    print("    seed %d, losses %s, largest logit %.2f" %
          (seed, results["base_loss"].tolist() + results["adapter_loss"].tolist(),
           results["logits.0"].abs().max()))
    write_configs(folder, fields, spellings)
    save_adapter(wrapped, os.path.join(folder, "adapter"))


def save_adapter(wrapped, folder):
    """As PEFT writes it, in f32, in which the values are exact; a list instead of a set's order."""
    wrapped.float().save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    with open(path, encoding="utf-8") as f:
        config = json.load(f)
    config["target_modules"].sort()
    write_json(path, config)


def main(names):
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    for name in names or FAMILIES:
        make(name)
    for name, fields in REFUSED.items():
        os.makedirs(os.path.join(FOLDER, name), exist_ok=True)
        write_json(os.path.join(FOLDER, name, "config.json"), fields)


if __name__ == "__main__":
    main(sys.argv[1:])
