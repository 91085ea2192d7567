#!/usr/bin/env python3
"""Every documented exit code of qctl, made to happen. docs/CLI.md, `qctl help exit-codes` and this file name the same."""
import json
import os
import re
import signal
import subprocess
import sys
import time

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


def begin(members, *words, **options):
    options = dict({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, **options)
    return subprocess.Popen([os.path.join(fleet.BIN, "qctl"), *words], text=True,
                            env=dict(os.environ, QFLEET_COORDINATOR=members.endpoint), **options)


def interrupted(members, job):
    process = begin(members, "watch", job)
    first = process.stderr.readline()  # from here on signals are waited for
    fleet.check(first.strip(), "watch said nothing")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)
    fleet.check(process.returncode == 128 + signal.SIGINT, "watch ended with %d: %s" % (process.returncode, said))
    print("130  watch")


def minds_sigint(process):
    with open("/proc/%d/status" % process.pid, encoding="ascii") as status:
        masks = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status.read(), re.M)
    return int(masks[0], 16) >> (signal.SIGINT - 1) & 1 == 1


def interrupted_in_vain(members, job, recipe):
    """Whoever follows a job listens to Ctrl-C also while nobody answers, and says that it was not the job's end."""
    verbs = (["watch", job], ["wait", job], ["graph", job, "--watch"], ["logs", "--follow"], ["submit", recipe, "--wait"])
    # Requests last longer than an end is waited for below.
    followers = [begin(members, *words, "--timeout", "600s") for words in verbs]
    end = time.monotonic() + 60
    while not all(map(minds_sigint, followers)):
        fleet.check(time.monotonic() < end, "somebody does not wait for signals")
        time.sleep(0.05)
    members.coordinator.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1.5)  # every one of them has asked
        for process in followers:
            process.send_signal(signal.SIGINT)
        for process in followers:
            said = process.communicate(timeout=60)
            fleet.check(process.returncode == 128 + signal.SIGINT,
                        "%s ended with %d: %s" % (process.args[1:], process.returncode, said))
    finally:
        members.coordinator.send_signal(signal.SIGCONT)
    print("130  %d verbs while the coordinator is silent" % len(followers))


def unwritten(members, job):
    """What was printed and did not arrive is an error of every verb, whatever its format."""
    for words in (["jobs"], ["jobs", "-o", "json"], ["jobs", "-o", "name"], ["show", job, "-o", "json"], ["watch", job],
                  ["watch", job, "-o", "json"], ["logs"], ["logs", "-o", "json"], ["graph", job, "--watch"],
                  ["metrics", job, "-o", "jsonl"], ["--version"]):
        with open("/dev/full", "w", encoding="ascii") as full:
            process = begin(members, *words, stdout=full)
            said = process.communicate(timeout=30)[1]
        fleet.check(process.returncode == 1 and ("No space left" in said or words == ["--version"]),
                    "%s: exit %d: %s" % (words, process.returncode, said))
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", os.path.join(fleet.BIN, "qctl"), "jobs"],
                            env=dict(os.environ, QFLEET_COORDINATOR=members.endpoint), capture_output=True, text=True)
    fleet.check(closed.returncode == 1 and "stdout: Bad file descriptor" in closed.stderr, closed.stderr)
    print("  1  output that does not arrive")


PROVIDERS = """providers:
  - {name: absent, kind: slurm, max: 4, target: 0, time_limit: 1h, coordinator: tcp://127.0.0.1:1}
  - {name: pods, kind: kubernetes, max: 4, target: 0, deployment: w, coordinator: tcp://127.0.0.1:1}
  - {name: lost, kind: ssh, max: 4, target: 0, hosts: [bad], coordinator: tcp://127.0.0.1:1}
  - {name: found, kind: ssh, max: 4, target: 0, hosts: [bad, worse, good], coordinator: tcp://127.0.0.1:1, program: WORKER}
  - {name: here, kind: local, max: 4, target: 0, program: /nowhere/qfleet-worker}
"""
FAKE_SSH = """#!/bin/sh
while [ $# -gt 2 ]; do shift; done
[ "$1" = good ] || { echo "ssh: Could not resolve hostname $1" >&2; exit 255; }
exec /bin/sh -c "$2 --orphan 5 --coordinator ipc://FOLDER/providers/data/control.sock"
"""
FAKE_KUBECTL = """#!/bin/sh
[ ! -e FOLDER/hang ] || exec /bin/sleep 600
echo "The connection to the server was refused" >&2
exit 1
"""


def start_with_providers(scratch, members):
    """A coordinator that finds no programs but stand-ins for ssh and kubectl."""
    for name, text in (("ssh", FAKE_SSH), ("kubectl", FAKE_KUBECTL)):
        fleet.write(scratch("fake", name), text.replace("FOLDER", scratch.path))
        os.chmod(scratch("fake", name), 0o755)
    fleet.write(scratch("providers.yml"), PROVIDERS.replace("WORKER", os.path.abspath(
        os.path.join(fleet.BIN, "qfleet-worker"))))
    path, os.environ["PATH"] = os.environ["PATH"], scratch("fake")
    try:
        members.start_coordinator("--providers", scratch("providers.yml"))
    finally:
        os.environ["PATH"] = path


def target(members, name):
    return [row["target"] for row in members.json("workers", "providers") if row["name"] == name]


def unreachable_providers(scratch):
    """Whoever asks for workers hears whether they could be asked for: no program, a refusal, no answer."""
    with fleet.Fleet(scratch("providers")) as members:
        start_with_providers(scratch, members)

        def scale(count, name, *flags, wait="60s"):
            return members.qctl("workers", "scale", count, "--provider", name, "--timeout", wait, *flags, ok=False)

        for flags in ((), ("--dry-run",)):
            ended(scale(2, "absent", *flags), 7, "sbatch is not on the coordinator's PATH; nothing was changed")
        ended(scale("auto", "here"), 7, "/nowhere/qfleet-worker is not there")
        fleet.check(target(members, "absent") + target(members, "here") == [0, 0], "what was refused became a target")
        ended(scale(2, "pods"), 7, "pods: The connection to the server was refused; the target stays")
        said = scale(3, "pods", "-o", "json")
        ended(said, 7, "was refused")
        fleet.check(json.loads(said.stdout)["code"] == "PROVIDER" and target(members, "pods") == [3], said.stdout)
        for _ in range(3):
            said = scale(1, "lost")
            if "lost: exit code 255" in said.stderr:
                break  # else the look came when the rest after the failure was over, or after the last start of all
        ended(said, 7, "lost: exit code 255: ssh: Could not resolve hostname bad")
        said = scale(1, "found", "-o", "json")
        ended(said, 0)
        fleet.check([row["running"] for row in json.loads(said.stdout) if row["name"] == "found"] == [1],
                    "one of three hosts is good: %s" % said.stdout)
        fleet.write(scratch("hang"), "")
        ended(scale(4, "pods", wait="10s"), 6, "pods: no answer within 10 s", "the target stays")
        ended(scale(0, "found"), 0)


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
            interrupted_in_vain(members, job, scratch("recipe.yml"))
            members.qctl("cancel", job)
            ended(members.qctl("wait", job, ok=False), 1)
            members.qctl("retry", job)
            members.start_worker("small", extra=("--memory", "1MiB"))
            while not members.json("workers"):
                time.sleep(0.05)
            ended(members.qctl("submit", scratch("recipe.yml"), ok=False), 5, "the only worker has 1.0M")
            members.start_worker("one")
            ended(members.qctl("wait", job), 0)
            unwritten(members, job)
            digest = members.json("ckpt", "log", job)[0]["digest"]
            ended(members.qctl("ckpt", "verify", job), 0)
            flip(artifact(members, digest))
            ended(members.qctl("ckpt", "verify", job, ok=False), 8)
        unreachable_providers(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
