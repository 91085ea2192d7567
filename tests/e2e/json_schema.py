#!/usr/bin/env python3
"""json_schema - JSON held against a schema: the part of JSON Schema that `qctl help json` uses, and no more.

Stricter than the standard in one point: a member that the schema does not name is an error, since all that a verb
prints comes from the rows that the schema is made from.

Run alone it compares schemas/json with what qctl prints; with --write it makes the files anew.
"""
import json
import os
import re
import subprocess
import sys

from fleet import BIN, check

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schemas", "json")
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {"$schema", "title", "description", "type", "properties", "required", "items", "maxItems", "enum", "pattern",
         "minimum", "maximum"}


class Mismatch(Exception):
    """What does not fit, and where."""


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def need(condition, where, text):
    if not condition:
        raise Mismatch("%s: %s" % (where or "the value", text))


def validate(value, schema, where=""):
    """Raises Mismatch."""
    unknown = set(schema) - KNOWN
    need(not unknown, where, "the schema says %s, which nobody here understands" % sorted(unknown))
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    need(any(is_type(value, name) for name in types), where,
         "expected %s, found %r" % (" or ".join(types), value))
    if value is None:
        return
    if "enum" in schema:
        need(value in schema["enum"], where, "%r is none of %s" % (value, schema["enum"]))
    if "pattern" in schema:
        need(re.search(schema["pattern"], value), where, "%r does not match %s" % (value, schema["pattern"]))
    if "minimum" in schema:
        need(schema["minimum"] <= value <= schema["maximum"], where, "%r is out of bounds" % value)
    if isinstance(value, list):
        need(len(value) <= schema["maxItems"], where, "%d items" % len(value))
        for index, item in enumerate(value):
            validate(item, schema["items"], "%s[%d]" % (where, index))
    if isinstance(value, dict):
        missing, more = set(schema["required"]) - set(value), set(value) - set(schema["properties"])
        need(not missing and not more, where, "missing %s, unknown %s" % (sorted(missing), sorted(more)))
        for name, member in value.items():
            validate(member, schema["properties"][name], "%s.%s" % (where, name))


def printed(name=None):
    words = ["help", "json"] + ([name] if name else [])
    return subprocess.run([os.path.join(BIN, "qctl"), *words], check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def check_files():
    """The committed schemas are those that the program prints; returns them by name."""
    names = printed().split()
    committed = sorted(name[:-5] for name in os.listdir(FOLDER) if name.endswith(".json"))
    check(sorted(names) == committed, "schemas/json has %s, qctl help json names %s" % (committed, names))
    schemas = {}
    for name in names:
        with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as file:
            check(file.read() == printed(name),
                  "schemas/json/%s.json is old: tests/e2e/json_schema.py --write makes it anew" % name)
        schemas[name] = json.loads(printed(name))
    return schemas


def check_value(schemas, name, value):
    try:
        validate(value, schemas[name])
    except Mismatch as error:
        raise AssertionError("%s: %s" % (name, error)) from None


def check_refuses(schemas, name, value):
    """The validator itself can fail."""
    try:
        validate(value, schemas[name])
    except Mismatch:
        return
    raise AssertionError("%s took %r" % (name, value))


def check_lists(fleet, job, folder):
    """What every verb with a schema prints of this job, which is done; `folder` takes its files."""
    schemas = check_files()
    checkpoints = fleet.qctl("ckpt", "log", job, "-o", "name").stdout.split()
    newest, oldest = checkpoints[0], checkpoints[-1]
    elsewhere = {"error", "explain", "stats", "stats-tensor", "inspect", "data-check", "doctor", "export"}
    words = {"jobs": ["jobs"], "show": ["show", job], "graph": ["graph", job],
             "workers": ["workers"], "workers-providers": ["workers", "providers"],
             "workers-scale": ["workers", "scale", "1", "--dry-run"], "metrics": ["metrics", job],
             "ckpt-log": ["ckpt", "log", job], "ckpt-show": ["ckpt", "show", newest],
             "ckpt-diff": ["ckpt", "diff", newest, oldest], "ckpt-verify": ["ckpt", "verify", newest],
             "ckpt-forget": ["ckpt", "forget", job, "--keep-last", "1", "--dry-run"],
             "pull": ["pull", job, os.path.join(folder, "pull")]}
    same = {"workers": ["workers", "list"], "ckpt-forget": ["ckpt", "prune", "--dry-run"]}  # other words, the same schema
    lines = {"watch": ["watch", job], "logs": ["logs", job]}
    check(set(words) | set(lines) | elsewhere == set(schemas), "a schema without a check: %s" % sorted(schemas))
    sizes = {}
    for name, command in words.items():
        value = fleet.json(*command)
        check_value(schemas, name, value)
        sizes[name] = len(value)
        check(value, "%s printed no rows" % name)
    for name, command in same.items():
        check_value(schemas, name, fleet.json(*command))
    for name, command in lines.items():
        values = fleet.json_lines(*command)
        for value in values:
            check_value(schemas, name, value)
        check(values, "%s printed no line" % name)
        sizes[name] = len(values)
    failed = fleet.qctl("show", "nobody", "-o", "json", ok=False)
    error = json.loads(failed.stdout)
    check_value(schemas, "error", error)
    check(error["code"] == "NOT_FOUND" and failed.returncode == 4, error)
    rows = fleet.json("jobs")
    check_refuses(schemas, "jobs", [dict(rows[0], state="running")])
    check_refuses(schemas, "jobs", [dict(rows[0], job="9c4")])
    check_refuses(schemas, "jobs", [dict(rows[0], surprise=1)])
    check_refuses(schemas, "jobs", [{key: rows[0][key] for key in rows[0] if key != "name"}])
    check_refuses(schemas, "jobs", rows[0])
    check_lines(fleet, rows)
    print("schemas hold: " + ", ".join("%s %d" % pair for pair in sizes.items()))


def check_lines(fleet, rows):
    """-o jsonl is the same rows a line each, -o name what other verbs take."""
    lines = fleet.qctl("jobs", "-o", "jsonl").stdout.splitlines()
    check([json.loads(line)["job"] for line in lines] == [row["job"] for row in rows], "jobs -o jsonl")
    names = fleet.qctl("jobs", "-o", "name").stdout.split()
    check(names == [row["job"] for row in rows], "jobs -o name: %s" % names)
    workers = fleet.qctl("workers", "-o", "name").stdout.split()
    check(workers == [row["name"] for row in fleet.json("workers")], "workers -o name: %s" % workers)
    refused = fleet.qctl("jobs", "-o", "dot", ok=False)
    check(refused.returncode == 2 and "expected table, json, jsonl or name" in refused.stderr, refused.stderr)


def check_local(schemas):
    """Verbs without a coordinator: what they print of this machine, a model of no weights, and a bad file."""
    def value(*words):
        done = subprocess.run([os.path.join(BIN, "qctl"), *words, "-o", "json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False, env=dict(os.environ, QFLEET_CONFIG=""))
        return json.loads(done.stdout)  # one value, also where the exit code is another
    golden = os.path.join(FOLDER, "..", "..", "tests", "golden")
    findings = value("doctor")
    check_value(schemas, "doctor", findings)
    check(len(findings) > 5, findings)
    for path in sorted(os.listdir(os.path.join(golden, "families"))):
        check_value(schemas, "inspect", value("inspect", os.path.join(golden, "families", path), "--tensors"))
    rows = value("data", "check", os.path.join(golden, "dataset", "completion.missing-text.jsonl"))
    check_value(schemas, "data-check", rows)
    check_refuses(schemas, "data-check", [dict(rows[0], rows="3")])
    check_refuses(schemas, "doctor", [dict(findings[0], more=1)])


def write_files():
    os.makedirs(FOLDER, exist_ok=True)
    for name in printed().split():
        with open(os.path.join(FOLDER, name + ".json"), "w", encoding="utf-8") as out:
            out.write(printed(name))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_files()
    check_local(check_files())
