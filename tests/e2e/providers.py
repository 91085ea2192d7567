#!/usr/bin/env python3
"""Workers over ssh and from a Deployment: commands, failures and draining, with stand-ins for the far side.

ssh: one of two hosts refuses, so the workers are on the other; where sshd is installed it is asked for
real, on loopback. kubernetes: a stand-in for kubectl keeps pods as processes and deletes the cheapest with
SIGTERM, as a Deployment does; what is let go drains first. A command that hangs or speaks nonsense does
not hold up the coordinator.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import toy
from fleet import BIN, Scratch, check, write, write_recipe
from slurm import TcpFleet, free_ports, points, provider, ready, wait_until

WORKER = os.path.abspath(os.path.join(BIN, "qfleet-worker"))

FAKE_SSH = """#!/bin/sh
# The far side is a shell of this machine; the last two words are host and line.
while [ $# -gt 2 ]; do shift; done
[ "$1" != bad ] || { echo "ssh: connect to host bad port 22: No route to host" >&2; exit 255; }
exec sh -c "$2"
"""

FAKE_KUBECTL = """#!/usr/bin/env python3
import json, os, signal, subprocess, sys
folder, words = os.environ["FAKE_KUBECTL"], sys.argv[1:]
if os.path.exists(folder + "/hang"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()
if os.path.exists(folder + "/mumble"):
    sys.exit(print("Unable to connect to the server"))
if os.path.exists(folder + "/flood"):
    for _ in range(100):
        print("x" * 1000000)
    sys.exit(0)
try:
    pods = json.load(open(folder + "/pods"))
except OSError:
    pods = {}
open(folder + "/calls", "a").write(" ".join(words) + "\\n")
def lives(pod):
    try:
        with open("/proc/%d/stat" % pod["pid"]) as stat:
            return stat.read().split(") ")[1][0] != "Z"
    except OSError:
        return False
pods = {name: pod for name, pod in pods.items() if lives(pod)}
if "scale" in words:
    goal = int(words[-1].split("=")[1])
    stay = [n for n, p in pods.items() if not p["goes"]]
    for name in sorted(stay, key=lambda n: pods[n]["cost"])[:max(0, len(stay) - goal)]:
        pods[name]["goes"] = True
        os.kill(pods[name]["pid"], signal.SIGTERM)
    for _ in range(goal - len(stay)):
        count = int(open(folder + "/count").read()) + 1 if os.path.exists(folder + "/count") else 1
        open(folder + "/count", "w").write(str(count))
        name = "qfleet-worker-%d" % count
        flags = open(folder + "/flags").read().split()
        log = open(folder + "/" + name + ".log", "w")
        process = subprocess.Popen(flags + ["--name", name, "--allocation", name], start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        pods[name] = {"pid": process.pid, "cost": 0, "goes": False}
    print("deployment.apps/qfleet-worker scaled")
elif "annotate" in words:
    for name in words:
        if name in pods:
            pods[name]["cost"] = -1000
elif "get" in words:
    for name, pod in pods.items():
        print("%s|Running|%s|" % (name, "2026-01-01T00:00:00Z" if pod["goes"] else ""))
else:
    sys.exit("unknown: %s" % words)
json.dump(pods, open(folder + "/pods", "w"))
"""


def write_program(path, text):
    write(path, text)
    os.chmod(path, 0o755)


def write_providers(path, fleet, **keys):
    keys = dict({"target": 0, "threads": 1, "secret": fleet.keys + "/worker.key",
                 "server_key": fleet.keys + "/coordinator.key.pub"}, **keys)
    write(path, "providers:\n  - " + "\n    ".join("%s: %s" % pair for pair in keys.items()) + "\n")


def start(folder, title, environment, **keys):
    fleet = TcpFleet(folder(title), environment)
    write_providers(folder(title + ".yml"), fleet, **keys)
    fleet.start_coordinator("--providers", folder(title + ".yml"))
    return fleet


def train(folder, fleet, name, **changes):
    write_recipe(folder(name + ".json"), toy.recipe(folder, folder("model"), output_dir=folder(name + "-out"),
                                                    **changes))
    return fleet.submit(folder(name + ".json"))


def all_left(fleet):
    """Nobody is left behind who would wait for a coordinator that is gone."""
    return all(row["state"] == "left" for row in fleet.json("workers"))


def over_ssh(folder, title, environment, **keys):
    with start(folder, title, environment, name="desks", kind="ssh", max=4, program=WORKER, **keys) as fleet:
        job = train(folder, fleet, title + "-job", max_steps=30)
        fleet.qctl("workers", "scale", 2, "--timeout", "60s")
        wait_until("2 workers over ssh", lambda: len(ready(fleet)) == 2)
        fleet.wait(job)
        print("%s: %s, %s" % (title, " ".join(ready(fleet)), provider(fleet)))
        fleet.qctl("workers", "scale", 0)
        wait_until("nobody", lambda: all_left(fleet))


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except ConnectionRefusedError:
        return False
    return True


def real_sshd(folder):
    """Runs sshd on loopback; its process and what ssh needs to reach it, or None."""
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if sshd is None or os.getuid() != 0:
        print("no sshd here, or not root: ssh with a stand-in only")
        return None, None
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder(key)], check=True)
    port = free_ports(1)[0]
    write(folder("sshd.conf"), "Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\n"
          "PermitRootLogin yes\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
          % (port, folder("host"), folder("user.pub")))
    process = subprocess.Popen([sshd, "-D", "-e", "-f", folder("sshd.conf")], stdin=subprocess.DEVNULL,
                               stderr=open(folder("sshd.log"), "w", encoding="utf-8"))
    wait_until("sshd", lambda: listens(port))
    flags = ["-p", str(port), "-i", folder("user"), "-o", "UserKnownHostsFile=" + folder("known"),
             "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-F", "none"]
    return process, "[%s]" % ", ".join('"%s"' % flag for flag in flags)


def from_a_deployment(folder):
    os.makedirs(folder("k8s"))
    environment = dict(os.environ, PATH=folder("kubectl") + ":" + os.environ["PATH"], FAKE_KUBECTL=folder("k8s"))
    write_program(folder("kubectl", "kubectl"), FAKE_KUBECTL)
    with start(folder, "pods", environment, name="pods", kind="kubernetes", max=4, deployment="qfleet-worker",
               namespace="ml") as fleet:
        write(folder("k8s", "flags"), " ".join([
            WORKER, "--coordinator", fleet.endpoint, "--provider", "pods", "--threads", "1", "--secret",
            fleet.keys + "/worker.key", "--server-key", fleet.keys + "/coordinator.key.pub"]))
        job = train(folder, fleet, "pods-job", max_steps=200)
        fleet.qctl("workers", "scale", 3, "--timeout", "60s")
        wait_until("3 pods", lambda: len(ready(fleet)) == 3)
        print("pods: %s" % " ".join(ready(fleet)))
        wait_until("10 steps", lambda: points(fleet, job) >= 10)
        fleet.qctl("workers", "scale", 1)
        wait_until("1 pod", lambda: len(ready(fleet)) == 1)
        wait_until("2 that left", lambda: sum(w["state"] == "left" for w in fleet.json("workers")) == 2)
        with open(folder("k8s", "calls"), encoding="utf-8") as calls:
            text = calls.read()
        check("annotate pod" in text and "--namespace ml scale deployment/qfleet-worker --replicas=1" in text,
              "kubectl was asked %s" % text)
        fleet.wait(job)
        write(folder("k8s", "hang"), "")
        begun = time.monotonic()
        said = fleet.qctl("workers", "scale", 2, "--timeout", "10s", ok=False)
        check(said.returncode == 6 and "no answer within 10 s" in said.stderr, "of a kubectl that hangs: %s" % said)
        fleet.qctl("workers")
        check(time.monotonic() - begun < 60, "a kubectl that hangs holds up the coordinator")
        read_again_while_kubectl_hangs(folder, fleet)
        strange_answers(folder, fleet)
        fleet.qctl("workers", "scale", 0)
        wait_until("no pods", lambda: all_left(fleet))
        print("pods: none, the job is done")


def asking(folder):
    """Pids of the stand-ins for kubectl that run now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if folder("kubectl", "kubectl").encode() in words:
            found.append(int(pid))
    return found


def read_again_while_kubectl_hangs(folder, fleet):
    """A file is taken between two questions, however long they take. Ignoring SIGTERM helps nobody."""
    wait_until("a kubectl that hangs", lambda: len(asking(folder)) == 1)
    write_providers(folder("pods.yml"), fleet, name="pods", kind="kubernetes", max=5, deployment="qfleet-worker",
                    namespace="ml")
    fleet.coordinator.send_signal(signal.SIGHUP)
    fleet.qctl("workers")  # an answer that came after the signal
    time.sleep(0.5)
    for pid in asking(folder):
        os.kill(pid, signal.SIGKILL)
    wait_until("the new file", lambda: provider(fleet)["max"] == 5, 20)
    os.remove(folder("k8s", "hang"))
    for pid in asking(folder):
        os.kill(pid, signal.SIGKILL)
    print("pods: a file read again while kubectl hangs")


def scales(folder):
    with open(folder("k8s", "calls"), encoding="utf-8") as calls:
        return calls.read().count(" scale ")


def strange_answers(folder, fleet):
    """Words that are no list are not an empty list: nobody is taken for gone, nobody is started for them."""
    fleet.qctl("workers", "scale", 2, ok=False)  # the answer may still be that of the one that was killed
    wait_until("2 pods", lambda: len(ready(fleet)) == 2)
    before = scales(folder)
    write(folder("k8s", "mumble"), "")
    fleet.qctl("workers", "scale", 4, ok=False)  # kubectl exits with 0, or is asked first what there is
    for words, following in (("not understood: Unable to connect", "flood"), ("larger than", None)):
        wait_until("words about it", lambda: words in provider(fleet)["detail"])
        print("pods: %s" % provider(fleet)["detail"])
        check(len(ready(fleet)) == 2 and provider(fleet)["running"] == 2, "pods were given up: %s" % provider(fleet))
        check(scales(folder) == before, "something was scaled by a kubectl that did not answer")
        if following is not None:
            write(folder("k8s", following), "")
            os.remove(folder("k8s", "mumble"))
    os.remove(folder("k8s", "flood"))
    wait_until("4 pods", lambda: len(ready(fleet)) == 4)


def main():
    with Scratch("providers") as folder:
        toy.make_model(lambda *words: subprocess.run([os.path.join(BIN, "qctl"), *words], check=True), folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        write_program(folder("fake", "ssh"), FAKE_SSH)
        over_ssh(folder, "stand-in", dict(os.environ, PATH=folder("fake") + ":" + os.environ["PATH"]),
                 hosts="[bad, good]")
        sshd, flags = real_sshd(folder)
        if sshd is not None:
            try:
                over_ssh(folder, "sshd", dict(os.environ), hosts="[root@127.0.0.1]", arguments=flags)
            finally:
                sshd.terminate()
                sshd.wait()
        from_a_deployment(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
