#!/usr/bin/env python3
"""A second job on the same model and data takes the first one's calibration over, also after the
coordinator was killed; its files are those of a fleet that has never seen another job. What was made
of rows under a chat template is not taken over when one byte of the template, or of a row, is another."""
import glob
import json
import os
import shutil
import sys

from fleet import Fleet, Scratch, check, data_folder, sha256, skip, write, write_recipe

TEXT_BYTES = 20000
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def recipe(folder, name, scheme, model):
    text = {"type": "completion", "ds_type": "text"}
    write_recipe(folder(name + ".yml"), {
        "base_model": model, "sequence_len": 128, "quantize": {"scheme": scheme},
        "calibration_datasets": [dict(text, path=folder("calibration.txt"))],
        "test_datasets": [dict(text, path=folder("test.txt"))]})
    return folder(name + ".yml")


def calibrate(fleet, job):
    return next(row for row in fleet.json("graph", job) if row["kind"] == "calibrate")


def pulled(fleet, job, folder):
    fleet.qctl("pull", job, folder)
    return {os.path.basename(path): sha256(path) for path in glob.glob(os.path.join(folder, "*"))}


def write_template(model, template):
    path = os.path.join(model, "tokenizer_config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    write(path, json.dumps(dict(config, chat_template=template)))


def stale(folder, fleet, source):
    """Which of four jobs calibrate anew: the first, its equal, one byte more in the template, one other in a row."""
    model = shutil.copytree(source, folder("model"), ignore=shutil.ignore_patterns("*.gguf", "*.dat"), copy_function=shutil.copyfile)
    os.chmod(model, 0o755)
    write_template(model, CHATML)
    row = json.dumps({"messages": [{"role": "user", "content": "How tall is the tower?"},
                                   {"role": "assistant", "content": "As tall as a tree."}]})
    def reused(name, text=row):
        write(folder("chat.jsonl"), "\n".join([text] + [row] * 60) + "\n")
        rows = {"path": folder("chat.jsonl"), "type": "chat_template"}
        write_recipe(folder(name + ".yml"), {"base_model": model, "sequence_len": 64, "quantize": {"scheme": "Q8_0"},
                                             "calibration_datasets": [rows]})
        job = fleet.submit(folder(name + ".yml"))
        fleet.wait(job)
        row_of = calibrate(fleet, job)
        return row_of["reused"], row_of["total"], row_of["key"]
    first, equal = reused("first"), reused("equal")
    other_row = reused("row", row.replace("tall", "tell", 1))
    write_template(model, CHATML.replace("{{'<", "{{ '<"))
    template = reused("template")
    check(first[0] == 0 and equal == (first[1], first[1], first[2]), "nothing was taken over: %s, %s" % (first, equal))
    check(other_row[2] != first[2], "another byte in a row has the same key")
    check(template[0] == 0 and template[2] != first[2], "another byte in the template was not seen: %s" % (template,))
    print("one byte of a template: key %s, not %s" % (template[2][:12], first[2][:12]))


def main():
    data = data_folder()
    if data is None:
        skip("no real data")
    model = os.path.join(data, "models", "lm-6m")
    with Scratch("reuse") as folder:
        with open(os.path.join(data, "text", "botchan.txt"), encoding="utf-8") as file:
            text = file.read(TEXT_BYTES)
        write(folder("calibration.txt"), text)
        write(folder("test.txt"), text[:3000])
        first, second = (recipe(folder, name, name, model) for name in ("Q8_0", "Q4_K_M"))
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            fleet.start_worker("a")
            job = fleet.submit(first)
            fleet.wait(job)
            source = calibrate(fleet, job)
            check(source["reused"] == 0 and source["total"] > 1, "the first job measures")
            fleet.kill_coordinator()
            fleet.start_coordinator()
            job = fleet.submit(second)
            fleet.wait(job)
            row = calibrate(fleet, job)
            check(row["reused"] == row["total"] == source["total"], "%s of %s are taken over" %
                  (row["reused"], row["total"]))
            check(row["key"] == source["key"], "the keys differ")
            note = "reused %d of %d from %s (key %s)" % (row["reused"], row["total"], row["reused_from"],
                                                        row["key"][:12])
            for word in ("show", "graph"):
                check(note in fleet.qctl(word, job).stdout, "qctl %s does not say: %s" % (word, note))
            shared = pulled(fleet, job, folder("shared"))
        with Fleet(folder("alone")) as fleet:
            fleet.start_coordinator()
            fleet.start_worker("a")
            job = fleet.submit(second)
            fleet.wait(job)
            check(calibrate(fleet, job)["reused"] == 0, "there is nothing to take over")
            alone = pulled(fleet, job, folder("alone-files"))
            stale(folder, fleet, model)
        check(len(alone) > 1 and shared == alone, "the files differ: %s, %s" % (shared, alone))
        print("%s; %d equal files" % (note, len(alone)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
