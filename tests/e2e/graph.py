#!/usr/bin/env python3
"""A job of 241 stages: its graph fits 80 columns, folded and in full; its edges, its longest way, and why it waits.

Then the JSON of every verb that lists something, held against its schema in schemas/json.
"""
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import fleet
import json_schema
import toy

VARIANTS = 48
STAGES = 1 + VARIANTS + 4 * VARIANTS
STATES = {"ok", "run", "wait", "FAIL", "cancel"}


def on_terminal(members, columns, *arguments):
    """What qctl prints on a terminal of so many columns, without the escapes of colour."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = dict(os.environ, QFLEET_COORDINATOR=members.endpoint, TERM="xterm", LC_ALL="C.UTF-8")
    with subprocess.Popen([os.path.join(fleet.BIN, "qctl"), *arguments], stdout=side, env=environment) as process:
        os.close(side)
        data = b""
        while True:
            try:
                read = os.read(main, 1 << 16)
            except OSError:
                break
            if not read:
                break
            data += read
    os.close(main)
    fleet.check(process.returncode == 0, "qctl %s: exit %d" % (" ".join(arguments), process.returncode))
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", data.decode()).replace("\r", "").splitlines()


def check_width(lines, columns):
    for line in lines:
        fleet.check(len(line) <= columns, "%d columns: %s" % (len(line), line))


def check_table(members):
    folded = on_terminal(members, 80, "graph", "last")
    fleet.check(on_terminal(members, 80, "graph", "last", "--watch") == folded, "a job that is over is drawn once")
    check_width(folded, 80)
    fleet.check(len(folded) < 40, "folded, it is %d lines" % len(folded))
    fleet.check(any(re.search(r"train\[\d+\.\.\d+\]", line) for line in folded), "\n".join(folded))
    print("\n".join(folded))
    for columns in (80, 60, 200):
        full = on_terminal(members, columns, "graph", "last", "--all")
        check_width(full, columns)
        fleet.check(len(full) == STAGES + 1, "%d lines for %d stages" % (len(full), STAGES))
        fleet.check(all(line.split()[0] in STATES for line in full[1:]), "a line without a state")
    plain = members.qctl("graph", "last", "--all").stdout
    fleet.check("export seed=%d" % VARIANTS in plain, "the last stage has its name in a log")


def check_edges(members, rows):
    dot = members.qctl("graph", "last", "-o", "dot").stdout
    mermaid = members.qctl("graph", "last", "-o", "mermaid").stdout
    edges = sum(len(row["after"]) for row in rows)
    fleet.check(edges == VARIANTS * (1 + 2 + 1 + 2), "%d edges" % edges)
    fleet.check(dot.count(" -> ") == edges and mermaid.count(" --> ") == edges, "dot and mermaid have all edges")
    fleet.check(dot == members.qctl("graph", "last", "--dot").stdout, "--dot is -o dot")
    for row in rows:
        fleet.check(all(after["stage"] < row["index"] for after in row["after"]), "an edge that points forwards")


def check_path(members):
    path = members.json("graph", "last", "--critical")
    kinds = [row["kind"] for row in path]
    fleet.check(kinds[0] in ("prepare", "init") and kinds[-1] == "export", "the longest way: %s" % kinds)
    text = members.qctl("graph", "last", "--critical").stdout
    fleet.check(text.splitlines()[-1].startswith("measured "), text)
    print(text)


def check_reasons(members, job):
    """Paused, without workers, with them."""
    rows = members.json("explain", job)
    fleet.check({row["reason"] for row in rows} >= {"no-worker", "needs"}, rows)
    fleet.check(len([row for row in rows if row["reason"] == "needs"]) >= 4 * VARIANTS, "every stage has its reason")
    json_schema.check_value(json_schema.check_files(), "explain", rows)
    said = members.qctl("explain", job).stdout
    fleet.check(len(said.splitlines()) < 10 and "no-worker" in said, said)
    print(said)
    members.qctl("pause", job)
    rows = members.json("explain", job)
    fleet.check([row["reason"] for row in rows] == ["paused"], "a paused job says so")
    members.qctl("resume", job)
    one = members.json("explain", job, "export seed=7")
    fleet.check(len(one) == 1 and one[0]["stage"] == "export seed=7", one)


def main():
    with fleet.Scratch("graph") as scratch:
        model = toy.make_model(lambda *words: subprocess.run([os.path.join(fleet.BIN, "qctl"), *words], check=True),
                               scratch.path)
        toy.write_rows(scratch("train.jsonl"), 60, 1)
        toy.write_rows(scratch("test.jsonl"), 6, 2)
        fleet.write_recipe(scratch("recipe.yml"), toy.recipe(
            scratch, model, seed=list(range(1, VARIANTS + 1)), max_steps=2, save_steps=2, eval_steps=0))
        with fleet.Fleet(scratch("fleet")) as members:
            members.start_coordinator()
            job = members.submit(scratch("recipe.yml"))
            check_reasons(members, job)
            watch = subprocess.Popen([os.path.join(fleet.BIN, "qctl"), "graph", job, "--watch"], text=True,
                                     stdout=subprocess.PIPE,
                                     env=dict(os.environ, QFLEET_COORDINATOR=members.endpoint))
            members.start_worker("one")
            members.start_worker("two")
            members.wait(job)
            changes = watch.communicate(timeout=60)[0].splitlines()
            fleet.check(watch.returncode == 0, "graph --watch ends with the job: %d" % watch.returncode)
            fleet.check(all(re.match(r"\+\S+ +(ok|run|wait) ", line) for line in changes), "\n".join(changes[:9]))
            fleet.check(sum(" ok " in line for line in changes) == STAGES, "a change of each stage")
            rows = members.json("graph", job)
            fleet.check(len(rows) == STAGES and all(row["state"] == "ok" for row in rows), "all stages are done")
            check_table(members)
            check_edges(members, rows)
            check_path(members)
            json_schema.check_lists(members, job, scratch("json"))
    print("graph: %d stages" % STAGES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
