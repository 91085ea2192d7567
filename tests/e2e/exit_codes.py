#!/usr/bin/env python3
"""Every documented exit code of qctl, made to happen. docs/CLI.md, `qctl help exit-codes` and this file name the same."""
import os
import re
import signal
import subprocess
import sys

import fleet
import toy
from damage import artifact, flip

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "CLI.md")


def documented():
    """Codes by the table of docs/CLI.md."""
    with open(DOCUMENT, encoding="utf-8") as file:
        section = file.read().split("## Exit codes", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| ([0-9]\S*) \|", section, re.M)


def qctl(*words, **options):
    return subprocess.run([os.path.join(fleet.BIN, "qctl"), *words], capture_output=True, text=True, **options)


def check_documents():
    text = qctl("help", "exit-codes").stdout
    codes = re.findall(r"^ +(\S+)  ", text.split("errors by name")[0], re.M)
    fleet.check(codes == documented(), "help has %s, docs/CLI.md %s" % (codes, documented()))
    named = {line.split()[0] for line in text.split("errors by name")[1].splitlines() if line.strip()}
    fleet.check(named <= set(codes) - {"0"}, "an error with a code that nobody explains: %s" % named)
    fleet.check(set("12345678") <= named, "a code that no error has: %s" % named)


def ended(process, code, *words):
    """The process ended as it should, and said so in words."""
    said = process.stdout + process.stderr
    fleet.check(process.returncode == code, "expected exit %d, found %d: %s" % (code, process.returncode, said))
    for word in words:
        fleet.check(word in said, "expected %r in: %s" % (word, said))
    print("%3d  %s" % (code, " ".join(process.args[1:3])))


def interrupted(members, job):
    process = subprocess.Popen([os.path.join(fleet.BIN, "qctl"), "watch", job], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True,
                               env=dict(os.environ, QFLEET_COORDINATOR=members.endpoint))
    first = process.stderr.readline()  # from here on signals are waited for
    fleet.check(first.strip(), "watch said nothing")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)
    fleet.check(process.returncode == 128 + signal.SIGINT, "watch ended with %d: %s" % (process.returncode, said))
    print("130  watch")


def main():
    check_documents()
    with fleet.Scratch("exit-codes") as scratch:
        model = toy.make_model(lambda *words: fleet.check(qctl(*words).returncode == 0, "model create"), scratch.path)
        toy.write_rows(scratch("train.jsonl"), 60, 1)
        toy.write_rows(scratch("test.jsonl"), 6, 2)
        fleet.write_recipe(scratch("recipe.yml"), toy.recipe(scratch, model, max_steps=2, save_steps=1))
        fleet.write(scratch("bad.yml"), "base_model: m\nlearnin_rate: 1\n")
        ended(qctl("jobz"), 2, "did you mean qctl jobs?")
        ended(qctl("jobs", "--limit", "none"), 2, "--limit")
        ended(qctl("submit", scratch("bad.yml"), "--coordinator", "ipc:///nowhere"), 3, "did you mean learning_rate?")
        ended(qctl("jobs", "--coordinator", "ipc://" + scratch("nobody.sock"), "--timeout", "1s"), 7)
        with fleet.Fleet(scratch("fleet")) as members:
            members.start_coordinator()
            job = members.submit(scratch("recipe.yml"))
            ended(members.qctl("show", "ffff", ok=False), 4, "no job is named ffff")
            ended(members.qctl("explain", job, "nothing", ok=False), 4, "has no stage nothing")
            ended(members.qctl("wait", job, "--for", "1s", ok=False), 6, "is not done yet")
            interrupted(members, job)
            members.qctl("cancel", job)
            ended(members.qctl("wait", job, ok=False), 1)
            members.qctl("retry", job)
            members.start_worker("one")
            ended(members.qctl("wait", job), 0)
            digest = members.json("ckpt", "log", job)[0]["digest"]
            ended(members.qctl("ckpt", "verify", job), 0)
            flip(artifact(members, digest))
            ended(members.qctl("ckpt", "verify", job, ok=False), 8)
    return 0


if __name__ == "__main__":
    sys.exit(main())
