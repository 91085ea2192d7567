#!/usr/bin/env python3
"""`qctl export`: the results of an adapter, of full training, of quantizing into a GGUF file and of one of two variants as
folders for a hub. Cards have their front matter and the recipe, which is the one of the job and can be submitted again;
the Modelfile names what is there and ends turns as the template does; nothing of a run's state lies beside them."""
import json
import os
import re
import sys

import json_schema
import toy
from fleet import Fleet, Scratch, check, write_recipe

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def front_of(card):
    match = re.match(r"---\n(.*?\n)---\n", card, re.S)
    check(match, "a card without front matter:\n" + card[:300])
    return match.group(1)


def has(text, *lines):
    for line in lines:
        check(line in text, "%r is missing in:\n%s" % (line, text))


def make_wide(fleet, folder):
    """A model whose rows are whole blocks, so that Q8_0 has something to do."""
    toy.write_tokenizer(folder("wide-empty"))
    config = dict(toy.CONFIG, hidden_size=64, intermediate_size=96)
    with open(folder("wide-empty", "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    fleet.qctl("model", "create", "--config", folder("wide-empty", "config.json"), "--tokenizer", folder("wide-empty"),
               "--seed", "7", folder("wide"))
    return folder("wide")


def jobs_of(folder, model, wide):
    small = {"max_steps": 2, "save_steps": 2, "eval_steps": 2, "warmup_steps": 0}
    lora = toy.recipe(folder, model, name="Toy LoRA", base_model_name="qfleet/toy", chat_template="chatml", **small)
    full = toy.recipe(folder, model, name="toy-full", **small)
    for key in [key for key in full if key.startswith("lora") or key == "adapter"]:
        del full[key]
    quantized = {"base_model": wide, "name": "toy-q8", "sequence_len": 64, "quantize": {"scheme": "Q8_0"},
                 "output_dir": folder("out")}
    lists = dict(lora, name="toy-lists", learning_rate=[1e-3, 2e-3])
    return {"lora": lora, "full": full, "gguf": quantized, "lists": lists}


def check_lora(fleet, path, job):
    card, modelfile = read(path, "README.md"), read(path, "Modelfile")
    has(front_of(card), 'base_model: "qfleet/toy"\n', "base_model_relation: adapter\n", 'license: "mit"\n',
        "library_name: peft\n", '- "train.jsonl"\n', "model-index:", "- type: loss\n", "- qfleet\n")
    has(card, "--max-lora-rank 8 --lora-modules toy-lora=.", "qctl convert . toy-lora-lora.gguf --base BASE",
        "ollama create toy-lora -f Modelfile", "held-out loss")
    has(modelfile, "FROM qfleet/toy\nADAPTER .\n", '"<|im_start|>user\\n"', 'PARAMETER stop "<|im_end|>"\n', 'PARAMETER stop "</s>"\n')
    check(modelfile.count('"""') == 2, "the template's quotes are not closed")
    frozen = fleet.qctl("show", job, "--recipe").stdout
    recipe = read(path, "recipe.yml")
    check(recipe in frozen and recipe in card, "recipe.yml is not the recipe of the job")
    kept = {name for name in os.listdir(path) if os.path.isfile(os.path.join(path, name))}
    check({"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= kept, str(kept))
    check(not [name for name in kept if "state" in name and name != "trainer_state.json"], "a run's state lies there: %s" % kept)
    fleet.qctl("inspect", path)


def check_model(path):
    card, modelfile = read(path, "README.md"), read(path, "Modelfile")
    has(front_of(card), "base_model_relation: finetune\n", "library_name: transformers\n")
    has(card, "vllm serve . --served-model-name toy-full\n", "llama-server -m toy-full.gguf\n")
    has(modelfile, "FROM .\n", "PARAMETER num_ctx 256\n")


def check_gguf(path):
    name = [name for name in os.listdir(path) if name.endswith(".gguf")][0]
    card, modelfile = read(path, "README.md"), read(path, "Modelfile")
    has(front_of(card), "base_model_relation: quantized\n", "library_name: gguf\n")
    has(card, "llama-server -m ./%s\n" % name)
    has(modelfile, "FROM ./%s\n" % name)


def snapshot(path):
    return {name: read(path, name) for name in sorted(os.listdir(path))}


def check_in_the_way(fleet, folder, jobs):
    """Nobody's files are overwritten; an earlier export of the job is, and one that broke off goes on."""
    mine = folder("mine")
    os.makedirs(mine)
    for name in ("README.md", "recipe.yml", "Modelfile", "tokenizer.json", "notes.txt"):
        with open(os.path.join(mine, name), "w", encoding="utf-8") as out:
            out.write("my own %s\n" % name)
    before = snapshot(mine)
    refused = fleet.qctl("export", jobs["lora"], mine, ok=False)
    check(refused.returncode == 1, "exit %d" % refused.returncode)
    has(refused.stderr, "mine: README.md, tokenizer.json, recipe.yml, Modelfile would be overwritten")
    check("notes.txt" not in refused.stderr, refused.stderr)
    check(snapshot(mine) == before, "a refused export wrote")
    for name in ("README.md", "recipe.yml", "Modelfile", "tokenizer.json"):
        os.remove(os.path.join(mine, name))
    os.symlink("nowhere", os.path.join(mine, "README.md"))
    check("README.md would" in fleet.qctl("export", jobs["lora"], mine, ok=False).stderr, "a link is overwritten")
    os.remove(os.path.join(mine, "README.md"))
    said = fleet.json("export", jobs["lora"], mine)
    json_schema.check_value(json_schema.check_files(), "export", said)
    check(said["folder"] == mine and said["files"] == 7, said)
    check(read(mine, "notes.txt") == before["notes.txt"], "another file has changed")
    other = fleet.qctl("export", jobs["full"], mine, ok=False)
    has(other.stderr, "README.md there is not this job's card")
    fleet.qctl("export", jobs["lora"], mine, "--license", "apache-2.0")
    has(front_of(read(mine, "README.md")), 'license: "apache-2.0"\n')
    for name in ("README.md", "recipe.yml", "Modelfile", "tokenizer.json"):
        os.remove(os.path.join(mine, name))
    fleet.qctl("export", jobs["lora"], mine)  # the rest is what it would be
    file = fleet.qctl("export", jobs["lora"], os.path.join(mine, "notes.txt"), ok=False)
    check(file.returncode == 1 and read(mine, "notes.txt") == before["notes.txt"], file.stderr)


def main():
    with Scratch("export") as folder, Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a", threads=2)
        model = toy.make_model(fleet.qctl, folder.path)
        config = json.loads(read(model, "tokenizer_config.json"))
        with open(os.path.join(model, "tokenizer_config.json"), "w", encoding="utf-8") as file:
            json.dump(dict(config, chat_template=CHATML), file)
        toy.write_rows(folder("train.jsonl"), 60, 1)
        toy.write_rows(folder("test.jsonl"), 8, 2)
        jobs = {}
        for name, keys in jobs_of(folder, model, make_wide(fleet, folder)).items():
            write_recipe(folder(name + ".yml"), keys)
            jobs[name] = fleet.submit(folder(name + ".yml"))
        for job in jobs.values():
            fleet.wait(job)
        done = fleet.qctl("export", jobs["lora"], folder("hub", "lora"), "--license", "mit")
        check_lora(fleet, folder("hub", "lora"), jobs["lora"])
        again = fleet.submit(folder("hub", "lora", "recipe.yml"))
        fleet.wait(again)
        rows = [fleet.json("show", job)["row"]["spec"] for job in (jobs["lora"], again)]
        check(rows[0] == rows[1], "recipe.yml is another recipe")
        said = fleet.qctl("export", jobs["full"], folder("hub", "full")).stderr
        has(said, "no license is said", "owner/name of a hub")
        check_model(folder("hub", "full"))
        fleet.qctl("export", jobs["gguf"], folder("hub", "gguf"))
        check_gguf(folder("hub", "gguf"))
        which = fleet.qctl("export", jobs["lists"], folder("hub", "lists"), ok=False)
        check(which.returncode == 2 and "--variant learning_rate=" in which.stderr, which.stderr)
        check(not os.path.exists(folder("hub", "lists")), "a folder of a refused export")
        fleet.qctl("export", jobs["lists"], folder("hub", "lists"), "--variant", "learning_rate=0.002", "--base-model", "someone/toy")
        has(read(folder("hub", "lists", "recipe.yml")), "learning_rate: 0.002\n")
        check(json.loads(read(folder("hub", "lists", "adapter_config.json")))["base_model_name_or_path"] == "someone/toy", "--base-model")
        check_in_the_way(fleet, folder, jobs)
        print(front_of(read(folder("hub", "lora", "README.md"))) + read(folder("hub", "lora", "Modelfile")) + done.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
