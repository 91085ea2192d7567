#!/usr/bin/env python3
"""Renders cases.json with Jinja, as transformers does, and writes one golden file a template.

    python3 make.py FOLDER      # FOLDER/<name>.jinja: a template as its model publishes it

The tests read the golden files alone; this needs jinja2. A golden file says what it was made from
by the SHA-256 of the template's text. In a golden file a case is the rendered text, or null where
the template raises.
"""
import hashlib
import json
import pathlib
import sys

import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
BOS, EOS = "<s>", "</s>"

# Where the template says nothing of a message that it was given, and raises nothing. qfleet refuses
# such a conversation: what a user wrote should not vanish.
LOST = {("alpaca", "late_system")}


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def compiled(text):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    env.globals["raise_exception"] = raise_exception
    return env.from_string(text)


def rendered(template, case):
    try:
        return template.render(
            messages=case["messages"],
            add_generation_prompt=case["open"],
            bos_token=BOS,
            eos_token=EOS,
        )
    except jinja2.exceptions.TemplateError:
        return None


def main():
    cases = json.loads((HERE / "cases.json").read_text())
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
        text = path.read_text()
        template = compiled(text)
        texts = {}
        for case in cases:
            lost = (path.stem, case["name"]) in LOST
            texts[case["name"]] = None if lost else rendered(template, case)
        golden = {
            "template": path.stem,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "texts": texts,
        }
        out = json.dumps(golden, ensure_ascii=False, indent=1) + "\n"
        (HERE / f"{path.stem}.json").write_text(out)


main()
