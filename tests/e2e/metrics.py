#!/usr/bin/env python3
"""/metrics of a coordinator at work: promtool accepts them, their figures are those of the jobs, a
lost worker and a broken training show; rules and dashboard ask for what there is."""
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import toy
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, skip, write, write_recipe
from same_bits import wait_for_points

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPS = os.path.join(ROOT, "ops", "metrics")
STEPS = 100  # long enough that a scrape finds the job at work


PROMTOOL = shutil.which("promtool")


def promtool(*words, text=None):
    if PROMTOOL is None:
        return  # main says so at the end
    done = subprocess.run([PROMTOOL, *words], input=text, capture_output=True, text=True)
    check(done.returncode == 0, "promtool %s: %s%s" % (" ".join(words), done.stdout, done.stderr))


def scrape(fleet):
    with urllib.request.urlopen(fleet.http + "metrics", timeout=30) as answer:
        check(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), "the content type")
        text = answer.read().decode()
    check(text.endswith("\n"), "the last line does not end")
    promtool("check", "metrics", text=text)
    rows = re.findall(r'^(\w+(?:\{[^}]*\})?) (\S+)$', text, re.M)
    check(len(rows) == len(dict(rows)), "a series is there twice")
    return {name: float(value) for name, value in rows}


def defined():
    """name -> type, from the rows of metric.def."""
    with open(os.path.join(ROOT, "schemas", "metric.def"), encoding="utf-8") as file:
        return dict(re.findall(r'M\(\w+, "(\w+)", (\w+),', file.read()))


def check_family(metrics, kinds):
    """Every row is exported, nothing else, and no id is a label."""
    bases = {re.sub(r"_(bucket|sum|count)$", "", n) if re.sub(r"_(bucket|sum|count)$", "", n) in kinds else n
             for n in (re.sub(r"\{.*", "", name) for name in metrics)}
    check(bases <= set(kinds), "not in metric.def: %s" % (bases - set(kinds)))
    missing = set(kinds) - bases
    check(not missing, "not exported: %s" % missing)
    labels = {label for name in metrics for label in re.findall(r'(\w+)="', name)}
    check(labels == {"version", "state", "error", "role", "code", "le"}, "labels: %s" % labels)


def check_asked(kinds):
    """Rules and dashboard name only metrics that there are, and promtool reads every expression."""
    with open(os.path.join(OPS, "rules.yml"), encoding="utf-8") as file:
        asked = re.findall(r"qfleet_\w+", file.read())
    with open(os.path.join(OPS, "grafana.json"), encoding="utf-8") as file:
        board = json.load(file)
    expressions = [t["expr"] for p in board["panels"] for t in p["targets"]]
    asked += [name for e in expressions for name in re.findall(r"qfleet_\w+", e)]
    for name in asked:
        check(name in kinds or re.sub(r"_bucket$", "", name) in kinds, "%s is asked for and not exported" % name)
    ids = [p["id"] for p in board["panels"]]
    check(len(ids) == len(set(ids)), "two panels have one id")
    cells = set()
    for p in board["panels"]:
        g = p["gridPos"]
        mine = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        check(g["x"] + g["w"] <= 24 and not mine & cells, "%s overlaps" % p["title"])
        cells |= mine
    return ["groups:", " - name: board", "   rules:"] + [
        "    - {record: 'board:%d', expr: %s}" % (i, json.dumps(e.replace("$instance", "a"))) for i, e in enumerate(expressions)]


def wait_for_workers(fleet, count):
    end = time.monotonic() + DEADLINE_S
    while sum(row["state"] == "ready" for row in fleet.json("workers")) < count:
        check(time.monotonic() < end, "there are no %d workers" % count)
        time.sleep(0.05)


def train(fleet, folder, keys):
    """A job: the figures follow."""
    wait_for_workers(fleet, 2)
    job = fleet.submit(folder("recipe.yml"))
    wait_for_points(fleet, job, 2)
    running = scrape(fleet)
    check(running['qfleet_jobs{state="run"}'] == 1, "no job runs")
    check(running["qfleet_training"] == 1 and 1 < running["qfleet_train_loss_max"] < 10, "the loss of a training")
    check(running["qfleet_train_grad_norm_max"] > 0, "the gradient norm")
    check(running['qfleet_workers{state="ready"}'] == 2 and running["qfleet_worker_threads"] == 2, "two workers")
    fleet.wait(job)
    done = scrape(fleet)
    last = [p for p in fleet.json("show", job)["points"] if not p["is_eval"]][-1]
    check(done['qfleet_jobs{state="ok"}'] == 1 and done['qfleet_jobs{state="run"}'] == 0, "the job is done")
    check(done["qfleet_train_steps_total"] == keys["max_steps"], "steps: %s" % done["qfleet_train_steps_total"])
    check(done["qfleet_train_tokens_total"] == last["tokens"], "tokens")
    check(done["qfleet_checkpoints_total"] == len(fleet.json("ckpt", "log", job)), "checkpoints")
    check(done["qfleet_tasks_done_total"] > keys["max_steps"] and done["qfleet_stalled_seconds"] == 0, "tasks")
    check(done["qfleet_commit_seconds_count"] > 5 and done["qfleet_loop_turn_seconds_count"] > 20, "histograms")
    print("%d series; commits: %d of %.2f ms; turns of the loop: %d of %.3f ms" % (
        len(done), done["qfleet_commit_seconds_count"],
        1000 * done["qfleet_commit_seconds_sum"] / done["qfleet_commit_seconds_count"], done["qfleet_loop_turn_seconds_count"],
        1000 * done["qfleet_loop_turn_seconds_sum"] / done["qfleet_loop_turn_seconds_count"]))


def break_training(fleet, folder, keys):
    """A rate that no model stands, after steps that were good: stopped, the good checkpoint kept."""
    full = {key: value for key, value in keys.items() if "lora" not in key and key != "adapter"}
    write_recipe(folder("broken.yml"), dict(
        full, max_steps=60, save_steps=1, learning_rate=20, lr_scheduler="constant", warmup_steps=100, max_grad_norm=0,
        loss_watchdog_threshold=6.5, loss_watchdog_patience=2, name="broken"))
    job = fleet.submit(folder("broken.yml"))
    done = fleet.qctl("wait", job, ok=False)
    check(done.returncode == 1, "a broken training ended with %d" % done.returncode)
    row = fleet.json("show", job)["row"]
    print("broken: %s: %s" % (row["error"], row["detail"]))
    check(row["error"] == "DIVERGED" and "above 6.5 for 2 steps" in row["detail"], "the reason")
    kept = int(re.search(r"the checkpoint of step (\d+) is kept", row["detail"]).group(1))
    checkpoints = fleet.json("ckpt", "log", job)
    check(checkpoints[0]["step"] == kept and all(c["loss"] <= 6.5 for c in checkpoints), "a checkpoint that is not good")
    fleet.qctl("ckpt", "verify", checkpoints[0]["digest"])
    metrics = scrape(fleet)
    check(metrics['qfleet_jobs_failed{error="DIVERGED"}'] == 1 and metrics['qfleet_jobs{state="FAIL"}'] == 1, "it is counted")


def check_addresses(fleet, folder):
    """What was asked for is done or refused; what was not asked for goes without."""
    def start(*flags):
        return subprocess.run([os.path.join(BIN, "qfleet-coordinator"), "--data", folder("other"), *flags],
                              capture_output=True, text=True, timeout=60)
    taken = fleet.http.split("/")[2]
    for code, words, flags in ((1, "the port is taken", ["--http", taken]),
                               (2, "needs a token", ["--http", "0.0.0.0:0"]),
                               (2, "expected HOST:PORT", ["--http", "here"]),
                               (4, "No such file", ["--http", "0.0.0.0:0", "--http-token", folder("no-such-token")])):
        done = start(*flags)
        check(done.returncode == code and words in done.stderr, "%s: exit %d, %s" % (flags, done.returncode, done.stderr))


def main():
    kinds = defined()
    promtool("check", "rules", os.path.join(OPS, "rules.yml"))
    promtool("test", "rules", os.path.join(OPS, "rules_test.yml"))
    promtool("check", "config", os.path.join(OPS, "prometheus.yml"))
    with Scratch("metrics") as folder:
        write(folder("board.yml"), "\n".join(check_asked(kinds)) + "\n")
        promtool("check", "rules", folder("board.yml"))

        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 60, 1)
        toy.write_rows(folder("test.jsonl"), 8, 2)
        keys = toy.recipe(folder, model, max_steps=STEPS, save_steps=20, eval_steps=50)
        write_recipe(folder("recipe.yml"), keys)
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator("--http", "127.0.0.1:0")
            first = scrape(fleet)
            check_family(dict(first, qfleet_train_loss_max=0, qfleet_train_loss_min=0, qfleet_train_grad_norm_max=0), kinds)
            check_addresses(fleet, folder)
            fleet.start_worker("a")
            fleet.start_worker("b")
            train(fleet, folder, keys)
            break_training(fleet, folder, keys)
    if PROMTOOL is None:
        skip("what promtool says, there is none here (ops/deps installs it); everything else holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
