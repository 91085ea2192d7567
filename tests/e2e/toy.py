"""toy - a small random Llama and a small corpus, so that end-to-end tests need no outside data."""
import json
import random

from fleet import check, write

WORDS = ("red green blue small large old new round square soft box ball stone leaf river house bird fish "
         "is was not in on near under over a the and or").split()
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "initializer_range": 0.05, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
    "bos_token_id": 256, "eos_token_id": 257, "vocab_size": 258, "torch_dtype": "float32",
}


def byte_alphabet():
    """The 256 printable stand-ins for bytes that byte-level vocabularies use."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters, extra = {b: chr(b) for b in kept}, 0
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + extra)
            extra += 1
    return [letters[byte] for byte in range(256)]


def write_tokenizer(folder):
    letters = byte_alphabet()
    vocab = {letter: index for index, letter in enumerate(letters)}
    special = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i, text in enumerate(("<s>", "</s>"))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write(folder + "/tokenizer.json", json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": []}}))
    write(folder + "/tokenizer_config.json", json.dumps({
        "bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_eos_token": False,
        "tokenizer_class": "PreTrainedTokenizerFast"}))
    write(folder + "/config.json", json.dumps(CONFIG, indent=1))


def make_model(fleet_qctl, folder, name="model", seed=7):
    """A model folder with random weights, made by `qctl model create`."""
    write_tokenizer(folder + "/empty")
    fleet_qctl("model", "create", "--config", folder + "/empty/config.json", "--tokenizer", folder + "/empty",
               "--seed", str(seed), folder + "/" + name)
    return folder + "/" + name


def write_rows(path, count, seed):
    """Prompt and completion rows of different lengths, the same for the same seed."""
    source = random.Random(seed)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(count):
            prompt = " ".join(source.choice(WORDS) for _ in range(source.randint(1, 6)))
            answer = " ".join(source.choice(WORDS) for _ in range(source.randint(1, 12)))
            out.write(json.dumps({"prompt": prompt, "completion": answer}) + "\n")


def recipe(folder, model, **changes):
    keys = {
        "base_model": model,
        "datasets": [{"path": folder("train.jsonl"), "type": "prompt_completion"}],
        "test_datasets": [{"path": folder("test.jsonl"), "type": "prompt_completion"}],
        "sequence_len": 128, "sample_packing": True,
        "adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "lora_target_modules": LINEAR,
        "micro_batch_size": 4, "gradient_accumulation_steps": 3, "max_steps": 20, "save_steps": 4, "eval_steps": 10,
        "learning_rate": 2e-3, "lr_scheduler": "cosine", "warmup_steps": 3, "weight_decay": 0.01,
        "max_grad_norm": 1.0, "seed": 11, "output_dir": folder("out"),
    }
    keys.update(changes)
    check(keys["micro_batch_size"] * keys["gradient_accumulation_steps"] == 12, "one global batch for all")
    return keys
