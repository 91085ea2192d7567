#!/usr/bin/env python3
"""A full disk, a small real one: under the coordinator's folder before it starts, while a job trains and at a restart, under
a worker's cache, and under what verbs of qctl write. Whoever meets it says so by name, nothing stays half-done, and when
there is room again the same job goes on to the same bits, the same command does what it should."""
import os
import signal
import subprocess
import sys
import time

import toy
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, run_embedded, sha256, skip, write_recipe

INSIDE = "QFLEET_FULL_DISK_INSIDE"
PAGE = 4096
ROOMY = 1 << 30  # more than the coordinator's floor, and no memory is taken for it
FULL = ("No space left on device", "the disk is full", "disk is nearly full")
COMMIT_FAILED = 42


def enter():
    """Into a namespace of our own, where file systems may be mounted without being root, or not at all."""
    if os.environ.get(INSIDE):
        return
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        tried = subprocess.run([*own, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"], capture_output=True, text=True)
    except FileNotFoundError:
        skip("there is no unshare")
    if tried.returncode != 0:
        skip("no file system can be mounted here: " + tried.stderr.strip())
    os.environ[INSIDE] = "1"
    os.execvp(own[0], [*own, sys.executable, *sys.argv])


class Disk:
    """A file system that is as large as it is told to be."""

    def __init__(self, path):
        self.path = path
        os.makedirs(path)
        self._mount("size=%d,mode=0700" % ROOMY)
        with open(self("taken"), "wb") as file:  # a size of nothing means without limit
            file.write(bytes(PAGE))

    def __call__(self, *parts):
        return os.path.join(self.path, *parts)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        subprocess.run(["umount", "--lazy", self.path], check=True)
        os.rmdir(self.path)

    def _mount(self, options, ok=True):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.path], capture_output=True, text=True)
        check(done.returncode == 0 or not ok, "mount: " + done.stderr)
        return done.returncode == 0

    def fill(self, left=0):
        """No more than that is free, whoever writes meanwhile."""
        for patience in range(100, -1, -1):
            status = os.statvfs(self.path)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            if self._mount("remount,size=%d" % (used + left), ok=patience == 0):
                return

    def free(self):
        self._mount("remount,size=%d" % ROOMY)

    def names(self):
        return sorted(os.path.relpath(os.path.join(folder, name), self.path)
                      for folder, folders, files in os.walk(self.path) for name in folders + files if name != "taken")


def says(text, where):
    check(any(words in text for words in FULL), "%s does not say that a disk is full: %s" % (where, text))


def until(what, condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        check(time.monotonic() < end, "never: " + what)
        time.sleep(0.05)


class Pressed(Fleet):
    """A fleet whose coordinator lies on such a disk, and may end for it with the one exit code."""

    def __init__(self, folder, disk, floor):
        super().__init__(folder)
        self.data = disk("data")
        self.flags = [] if floor is None else ["--disk-floor", str(floor)]

    def try_coordinator(self):
        """Serves, or said why not; returns its words."""
        with open(os.path.join(self.folder, "said"), "w+b") as said:
            process = subprocess.Popen([os.path.join(BIN, "qfleet-coordinator"), "--data", self.data, "--embedded", *self.flags],
                                       stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL)
            ready = process.stdout.readline()
            if ready:
                process.terminate()
            process.wait()
            process.stdout.close()
            said.seek(0)
            words = said.read().decode()
        check(process.returncode == 0 if ready else process.returncode in (1, COMMIT_FAILED),
              "it ended with %d: %s" % (process.returncode, words))
        if not ready:
            says(words, "the coordinator")
            check(self.data in words, "which disk? " + words)
        return bool(ready), words

    def start(self):
        self.start_coordinator(*self.flags)

    def tell(self, *words, code=0):
        """Asks for what is put on record: done and answered, or the coordinator ends with its code for that. One that
        is only slow is asked again."""
        end = time.monotonic() + DEADLINE_S
        while True:
            asked = subprocess.run([os.path.join(BIN, "qctl"), *words, "--timeout", "5s"], capture_output=True,
                                   text=True, env=dict(os.environ, QFLEET_COORDINATOR=self.endpoint))
            if asked.returncode == code:
                return True
            check(asked.returncode in (6, 7), "%s ended with %d: %s" % (words, asked.returncode, asked.stderr))
            if asked.returncode == 7 and self.coordinator.poll() is not None:
                break
            check(time.monotonic() < end, "%s: %s, and the coordinator lives" % (words, asked.stderr))
        check(self.coordinator.returncode == COMMIT_FAILED,
              "%s: the coordinator ended with %d" % (words, self.coordinator.returncode))
        self.coordinator.stdout.close()
        self.coordinator = None
        return False


def starts(folder):
    """Of every page that a first start takes, it may be the one that is not there."""
    served = []
    with Disk(folder("first")) as disk:
        for pages in range(12):
            fleet = Pressed(folder("starts-%d" % pages), disk, 0)
            fleet.data = disk("data-%d" % pages)
            disk.fill(pages * PAGE)
            ready, words = fleet.try_coordinator()
            served.append(ready)
            disk.free()
            check(fleet.try_coordinator()[0], "with room it does not start any more: " + words)
            fleet.log.close()
    check(not served[0] and served[-1], "it served with these pages free: %s" % served)
    print("a first start: serves with %d pages free, and with room after less" % served.index(True))


def checkpoints(fleet, job):
    return {row["step"]: row["digest"] for row in fleet.json("ckpt", "log", job)}


def progress(fleet, job):
    return fleet.json("show", job)["point_count"], checkpoints(fleet, job)


def in_training(fleet, recipe, worker):
    """A job with a checkpoint and steps to go: its worker stands still, and what that handed in before is on record.
    A job that was over by then is no use, and the next one is submitted."""
    end = time.monotonic() + DEADLINE_S
    while True:
        job = fleet.submit(recipe)
        until("a checkpoint", lambda: checkpoints(fleet, job))
        fleet.freeze_worker(worker)
        before, seen = None, progress(fleet, job)
        while seen != before:
            time.sleep(0.2)
            before, seen = seen, progress(fleet, job)
        state = fleet.json("show", job)["row"]["state"]
        if state == "run":
            return job
        check(state == "ok" and time.monotonic() < end, "no job is in training, the last one is " + state)
        fleet.thaw_worker(worker)


def trains_on(folder, floor, straight):
    """The disk fills up in mid-training, and the coordinator starts again on it."""
    with Disk(folder("store")) as disk, Pressed(folder("fleet-%s" % floor), disk, floor) as fleet:
        fleet.start()
        fleet.start_worker("a")

        def until_full(what, condition):
            until(what, lambda: disk.fill() or condition())  # pages that came free meanwhile are taken again
        job = in_training(fleet, folder("job.yml"), "a")
        disk.fill()
        fleet.thaw_worker("a")
        until_full("words about the disk", lambda: any(words in fleet.qctl("jobs").stdout for words in FULL))
        print(fleet.qctl("jobs").stdout.splitlines()[1])
        why = fleet.qctl("explain", job).stdout
        says(why, "explain")
        check("free space" in why, why)
        until_full("the log of the coordinator",
                   lambda: "nearly full, jobs wait" in open(fleet.log.name, encoding="utf-8").read())
        kept = checkpoints(fleet, job)
        refused = fleet.qctl("submit", folder("job.yml"), "--set", "seed=12", ok=False)
        says(refused.stderr, "submit")
        check(refused.returncode == 1, "submit ended with %d" % refused.returncode)
        if fleet.tell("workers", "scale", "1", code=1):  # taken, and there is no room for anybody
            row = fleet.json("workers", "providers")[0]
            check(row["state"] == "disk-low" and row["running"] == 0, "scaled on a full disk: %s" % row)
            fleet.tell("workers", "scale", "0")
        if fleet.coordinator is not None:
            fleet.kill_coordinator()
        disk.fill()
        if fleet.try_coordinator()[0]:
            fleet.start()
            check(checkpoints(fleet, job).items() >= kept.items(), "checkpoints are gone")
            says(fleet.qctl("explain", job).stdout, "explain after a restart")
            fleet.kill_coordinator()
        disk.free()
        fleet.start()
        check(checkpoints(fleet, job).items() >= kept.items(), "checkpoints are gone")
        fleet.wait(job)
        fleet.qctl("ckpt", "verify", job)
        fleet.qctl("pull", job, folder("pulled-%s" % floor))
        check(sha256(folder("pulled-%s" % floor, "adapter_model.safetensors")) == straight, "other bits than the straight run's")


def hands_in(folder, straight):
    """Its result is larger than what is left: the task waits for room and is not to blame."""
    with Disk(folder("results")) as disk, Pressed(folder("fleet-results"), disk, 0) as fleet:
        fleet.start()
        job = fleet.submit(folder("job.yml"))
        disk.fill(16 * PAGE)
        fleet.start_worker("a")
        until("a worker that rests", lambda: any("disk is full" in row["detail"] for row in fleet.json("workers")))
        says(fleet.qctl("logs", job).stdout, "its log")
        print(fleet.qctl("workers").stdout.splitlines()[1])
        check(not any(row["reason"] == "faults" for row in fleet.json("explain", job)), "the task is blamed")
        disk.free()
        fleet.wait(job)
        fleet.qctl("pull", job, folder("handed-in"))
        check(sha256(folder("handed-in", "adapter_model.safetensors")) == straight, "other bits than the straight run's")


def start_apart(fleet, name, cache, hidden):
    """A worker as on another machine: these folders are empty for it, so it fetches, into that cache."""
    covers = "".join("mount -t tmpfs tmpfs '%s' && " % path for path in hidden)
    fleet.workers[name] = fleet._spawn(
        ["unshare", "--mount", "sh", "-c", covers + 'exec "$@"', "sh", os.path.join(BIN, "qfleet-worker"), "--coordinator",
         fleet.endpoint, "--name", name, "--threads", "1", "--cache", cache], stdout=fleet.log)


def goes_elsewhere(folder, straight):
    """A worker without room for what a task reads: it says so, and the task is done by another."""
    with Disk(folder("cache")) as disk, Fleet(folder("fleet-cache")) as fleet:
        fleet.start_coordinator()
        start_apart(fleet, "full", disk("full"), [folder("model"), os.path.join(fleet.data, "artifacts")])
        until("a worker", lambda: fleet.json("workers"))
        disk.fill()
        job = fleet.submit(folder("job.yml"))
        until("a worker that rests", lambda: any("disk is full" in row["detail"] for row in fleet.json("workers")))
        said = [line for line in fleet.qctl("logs", job).stdout.splitlines() if "failed on full" in line]
        check(len(said) == 1 and disk("full") in said[0], "its log: %s" % said)
        says(fleet.qctl("explain", job).stdout, "explain")
        print(said[0])
        fleet.start_worker("good")
        fleet.wait(job)
        fleet.qctl("pull", job, folder("elsewhere"))
        check(sha256(folder("elsewhere", "adapter_model.safetensors")) == straight, "other bits than the straight run's")


def makes_room(folder):
    """What the cache itself has no use for goes before the disk counts as full."""
    with Disk(folder("cache")) as disk, Fleet(folder("fleet-room")) as fleet:
        fleet.start_coordinator()
        start_apart(fleet, "full", disk("full"), [folder("model"), folder("other"), os.path.join(fleet.data, "artifacts")])
        fleet.wait(fleet.submit(folder("short.yml")))
        disk.fill()
        fleet.wait(fleet.qctl("submit", folder("short.yml"), "--set", "base_model=" + folder("other")).stdout.strip())
        print("a second model in place of the first: %d bytes left" % (os.statvfs(disk.path).f_bavail * PAGE))
        disk.free()
        fleet.wait(fleet.submit(folder("short.yml")))
        write_recipe(folder("quantize.yml"), {"base_model": folder("other"), "quantize": {"scheme": "W8A8"}, "name": "scratch", "sequence_len": 128})
        disk.fill()
        fleet.wait(fleet.submit(folder("quantize.yml")))
        print("a file of a task in place of a model: %d bytes left" % (os.statvfs(disk.path).f_bavail * PAGE))


def verb(fleet, folder, words, left, kept=()):
    """`words` name their target as DISK/...: refused by name with nothing left there but `kept`, done when there is room."""
    environment = dict(os.environ, QFLEET_COORDINATOR=fleet.endpoint)

    def run(target):
        return subprocess.run([os.path.join(BIN, "qctl"), *(str(word).replace("DISK", target) for word in words)],
                              capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    with Disk(folder("target")) as disk:
        disk.fill(left)
        failed = run(disk.path)
        text = "%s with %d bytes: exit %d: %s" % (" ".join(map(str, words)), left, failed.returncode, failed.stderr)
        check(failed.returncode == 1, text)
        says(failed.stderr, text)
        check(disk.path in failed.stderr, "which file? " + text)
        there = [name for name in disk.names() if name.split("/")[0] not in kept]
        check(not there, "%s left %s" % (text, there))
        disk.free()
        done = run(disk.path)
        check(done.returncode == 0, "%s again: exit %d: %s" % (text, done.returncode, done.stderr))
    print("%-14s %s" % (words[0], failed.stderr.strip().splitlines()[-1]))


def verbs(folder):
    with Fleet(folder("fleet-verbs")) as fleet:
        fleet.start_coordinator()
        fleet.start_worker("a")
        job = fleet.submit(folder("short.yml"))
        fleet.wait(job)
        fleet.qctl("pull", job, folder("adapter"))
        fleet.qctl("convert", folder("model"), folder("model.gguf"))
        shape = ["model", "create", "--config", folder("empty", "config.json"), "--tokenizer", folder("empty"), "DISK/model"]
        for left, words in (
                (0, ["init", "DISK/init", "--host", "localhost"]), (4 * PAGE, ["init", "DISK/init", "--host", "localhost"]),
                (0, ["keys", "create", "DISK/a.key"]), (0, shape), (8 * PAGE, shape),
                (0, ["convert", folder("model"), "DISK/a.gguf"]), (16 * PAGE, ["convert", folder("model"), "DISK/a.gguf"]),
                (16 * PAGE, ["convert", folder("model.gguf"), "DISK/folder"]),
                (PAGE, ["convert", folder("adapter"), "DISK/a.gguf", "--base", folder("model")]),
                (0, ["pull", job, "DISK/pulled"]), (9 * PAGE, ["pull", job, "DISK/pulled"]),
                (12 * PAGE, ["export", job, "DISK/exported", "--license", "mit"]),
                (0, ["plot", job, "loss", "DISK/loss.svg"]), (PAGE, ["plot", job, "loss", "DISK/loss.png"]),
                (0, ["metrics", job, "--jsonl", "DISK/log.jsonl"])):
            verb(fleet, folder, words, left)
        verb(fleet, folder, ["metrics", job, "--tensorboard", "DISK/runs"], 0, kept=("runs",))
        for left in (0, 4 * PAGE):
            verb(fleet, folder, ["run", folder("short.yml"), "--data", "DISK/data"], left, kept=("data",))
        verb(fleet, folder, ["run", folder("short.yml"), "--set", "output_dir=DISK/out"], 0)


def main():
    enter()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with Scratch("full-disk") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 300, 1)
        toy.write_rows(folder("test.jsonl"), 40, 2)
        qctl("model", "create", "--config", folder("empty", "config.json"), "--tokenizer", folder("empty"), "--seed", "8",
             folder("other"))
        write_recipe(folder("job.yml"), toy.recipe(folder, model, max_steps=100, save_steps=2, name="job"))
        write_recipe(folder("short.yml"), toy.recipe(folder, model, max_steps=4, save_steps=2, warmup_steps=1, name="short"))
        run_embedded(folder("job.yml"))
        straight = sha256(folder("out", "adapter_model.safetensors"))
        starts(folder)
        trains_on(folder, None, straight)
        trains_on(folder, 0, straight)
        hands_in(folder, straight)
        goes_elsewhere(folder, straight)
        makes_room(folder)
        verbs(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
