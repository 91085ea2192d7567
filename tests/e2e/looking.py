"""Looking at a run: metrics, event files, curves, watch and top, on a job that runs and after it.

Event files are read here record by record; tensorboard_check.py has TensorBoard's own reader do it.
"""
import glob
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import xml.etree.ElementTree
import zlib

import json_schema
import toy
from fleet import BIN, Fleet, Scratch, check, skip, write_recipe

STEPS, EVALS, BIG_STEPS = 24, 4, 200
LINE_KEYS = {"current_steps", "total_steps", "loss", "lr", "epoch", "percentage", "elapsed_time", "remaining_time",
             "total_tokens"}


def crc32c(data):
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (0x82F63B78 & -(total & 1))
    total ^= 0xFFFFFFFF
    return ((total >> 15 | total << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """Payloads of an event file; every check is compared."""
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], 0
    while at < len(data):
        size, = struct.unpack_from("<Q", data, at)
        head, = struct.unpack_from("<I", data, at + 8)
        payload = data[at + 12:at + 12 + size]
        tail, = struct.unpack_from("<I", data, at + 12 + size)
        check(head == crc32c(data[at:at + 8]) and tail == crc32c(payload), "a check of %s is wrong" % path)
        found.append(payload)
        at += 16 + size
    return found


def event_file(folder):
    files = glob.glob(os.path.join(folder, "**", "events.out.tfevents.*"), recursive=True)
    check(len(files) == 1, "expected one event file in %s, found %s" % (folder, files))
    return files[0]


def check_metrics(fleet, folder, job):
    points = fleet.json("metrics", job)
    check(len(points) == STEPS + STEPS // EVALS, "%d points" % len(points))
    check(fleet.qctl("metrics", job, "-o", "jsonl").stdout.count("\n") == len(points), "jsonl has other points")
    table = fleet.qctl("metrics", job, "--last", 5).stdout.splitlines()
    check(len(table) == 6 and "GRAD_NORM" in table[0], "the table is\n" + "\n".join(table))
    fleet.qctl("metrics", job, "--jsonl", folder("log.jsonl"), "--tensorboard", folder("tb"))
    with open(folder("log.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    check(len(lines) == len(points) and LINE_KEYS <= set(lines[0]), "trainer_log.jsonl has %s" % sorted(lines[0]))
    check(lines[-1]["current_steps"] == STEPS and lines[-1]["percentage"] == 100, "the last line is %s" % lines[-1])
    path = event_file(folder("tb"))
    check(len(records(path)) == 1 + len(points), "a record a point and one for the version")
    failed = fleet.qctl("metrics", job, "--follow", ok=False)
    check(failed.returncode == 2, "--follow alone: exit %d" % failed.returncode)
    print("metrics: %d points, %s, %d records" % (len(points), "trainer_log.jsonl", 1 + len(points)))


def event_bytes(folder):
    files = glob.glob(os.path.join(folder, "**", "events.out.tfevents.*"), recursive=True)
    return sum(map(os.path.getsize, files))


def await_events(fleet, folder, count):
    """Until a follower has written so many bytes more than there are."""
    count += event_bytes(folder)
    end = time.monotonic() + 120
    while event_bytes(folder) < count:
        fleet.check_alive()
        check(time.monotonic() < end, "the follower writes nothing")
        time.sleep(0.05)


def check_follow(fleet, folder, job):
    """A follower that is killed and started again leaves the file of one that was not. The job runs until it is
    cancelled here."""
    place = folder("followed")
    command = [os.path.join(BIN, "qctl"), "metrics", job, "--tensorboard", place, "--follow"]
    env = dict(os.environ, QFLEET_COORDINATOR=fleet.endpoint)
    for _ in range(2):
        follower = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        await_events(fleet, place, 500)
        follower.send_signal(signal.SIGKILL)
        follower.wait()
    state = fleet.json("show", job)["row"]["state"]
    torn = event_file(place)
    size = os.path.getsize(torn)
    os.truncate(torn, size - 5)
    follower = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    await_events(fleet, place, 500)
    fleet.qctl("cancel", job)
    said = follower.communicate(timeout=120)[1]
    check(follower.returncode == 0, "the follower: " + said)
    fleet.qctl("metrics", job, "--tensorboard", folder("whole"))
    with open(torn, "rb") as one, open(event_file(folder("whole")), "rb") as other:
        check(one.read() == other.read(), "the followed file differs from one that was written at once")
    print("follow: killed twice at %d bytes (job: %s), then whole: %d records" % (size, state, len(records(torn))))


def check_png(path):
    with open(path, "rb") as file:
        data = file.read()
    check(data[:8] == b"\x89PNG\r\n\x1a\n", path)
    at, idat, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + length]
        check(zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + length)[0], "a sum of " + path)
        size = struct.unpack_from(">II", body) if kind == b"IHDR" else size
        idat += body if kind == b"IDAT" else b""
        at += 12 + length
    check(len(zlib.decompress(idat)) == size[1] * (size[0] + 1), "%s has %s dots" % (path, size))
    return size


def check_plots(fleet, folder, jobs):
    for words in (["loss"], ["grad_norm", "--log"], ["lr"], ["perplexity"], ["tokens_per_second"],
                  ["loss", "--smooth", 0.9, "--x", "tokens"]):
        page = fleet.qctl("plot", jobs[0], *words, "--width", 72, "--height", 14).stdout.splitlines()
        check(len(page) == 14 and max(map(len, page)) <= 72, "a page of\n" + "\n".join(page))
    fleet.qctl("plot", *jobs, "loss", folder("both.svg"))
    fleet.qctl("plot", *jobs, "loss", folder("both.png"), "--smooth", 0.5)
    svg = xml.etree.ElementTree.parse(folder("both.svg")).getroot()
    names = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    for job in ("demo train", "demo eval", "big train"):
        check(any(name.endswith(job) for name in names), "%s is not named among %s" % (job, names))
    size = check_png(folder("both.png"))
    for words, code in ((["demo", "rewards"], 1), (["demo", "x.gif"], 2), (["demo", "loss", "lr"], 2),
                        (["nothing-like-this"], 4), (["demo", "-o", "json"], 2)):
        done = fleet.qctl("plot", *words, ok=False)
        check(done.returncode == code, "plot %s: exit %d: %s" % (words, done.returncode, done.stderr))
    print("plot: 6 pages of text, an SVG of %d lines, a PNG of %dx%d" % (len(names), *size))


def check_watch(fleet, job, steps):
    """A log has about a hundred lines, whatever the number of steps, and no bars."""
    done = fleet.qctl("watch", job)
    lines = done.stdout.splitlines()
    points = fleet.json_lines("watch", job)
    trained = [line for line in lines if "  loss " in line]
    check("\r" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr, "a log got escapes")
    check(2 <= len(trained) <= 102 and lines[-1].split()[1] == str(steps), "watch said\n" + done.stdout)
    check("tok/s" in trained[-1], "no speed in " + trained[-1])
    check(len([p for p in points if not p["is_eval"]]) == steps, "-o json passed points over")
    print("watch: %d steps in %d lines, %d bytes" % (steps, len(lines), len(done.stdout)))


def check_calibration(fleet, folder, model):
    """A job that only quantizes: histograms, no curve."""
    with open(folder("train.jsonl"), encoding="utf-8") as rows, open(folder("calib.txt"), "w", encoding="utf-8") as out:
        out.write(rows.read(9000))
    write_recipe(folder("static.yml"), {
        "base_model": model, "name": "static", "sequence_len": 64, "calibration_datasets": [{"path": folder("calib.txt")}],
        "quantize": {"scheme": "W8A8", "activations": "static", "observer": "percentile", "samples": 8},
        "output_dir": folder("static-out")})
    job = fleet.submit(folder("static.yml"))
    fleet.wait(job)
    fleet.qctl("metrics", job, "--tensorboard", folder("static"))
    path = event_file(folder("static"))
    found = records(path)
    tags = [record for record in found if b"calibration/model.layers." in record]
    check(os.path.basename(os.path.dirname(path)) == "calibration" and len(tags) == len(found) - 1 == 8,
          "%s has %d histograms" % (path, len(tags)))
    check("down_proj" in fleet.qctl("plot", job, "calibration", "--tensor", "layers.0.mlp.down_proj").stdout, "plot calibration")
    check(fleet.qctl("plot", job, "loss", ok=False).returncode == 1, "a curve of nothing")
    schemas = json_schema.check_files()
    json_schema.check_value(schemas, "stats", fleet.json("stats", job))
    json_schema.check_value(schemas, "stats-tensor", fleet.json("stats", job, "layers.0.mlp.down_proj"))
    json_schema.check_value(schemas, "inspect", fleet.json("inspect", model, "--tensors"))
    fleet.qctl("pull", job, folder("pulled"), "--log")
    check(not os.path.exists(folder("pulled", "trainer_log.jsonl")), "a log of nothing")
    print("calibration: %d histograms" % len(tags))


class Terminal:
    """A terminal of tmux with one program in it."""

    def __init__(self, folder, fleet, width, height, locale="C.UTF-8"):
        self.socket = folder("tmux-%d" % width)  # a server that ends has its socket for a while
        self.run("-f", "/dev/null", "-u", "new-session", "-d", "-x", width, "-y", height,
                 "env LANG=%s LC_ALL=%s TERM=screen-256color QFLEET_COORDINATOR=%s %s top; echo ended $?; sleep 60"
                 % (locale, locale, fleet.endpoint, os.path.join(BIN, "qctl")))

    def run(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *map(str, words)], capture_output=True, text=True,
                              check=True).stdout

    def page(self):
        return self.run("capture-pane", "-p")

    def until(self, *texts, line=()):
        """The page that has all the texts, and those of `line` on one line."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            page = self.page()
            if all(text in page for text in texts) and any(all(t in l for t in line) for l in page.splitlines()):
                return page
            time.sleep(0.1)
        raise AssertionError("waited for %s %s on\n%s" % (texts, line, page))

    def press(self, *keys):
        self.run("send-keys", *keys)

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, check=False)


def check_live(folder, fleet):
    """The job `long` trains all the while."""
    terminal = Terminal(folder, fleet, 90, 26)
    try:
        print(terminal.until("workers", "▸", "demo", "long", "train", "tok/s", " left", "┤"))
        terminal.press("Enter")
        terminal.until("needs train", "prepare")
        terminal.press("w")
        terminal.until("ready", "a ")
        terminal.press("p")
        terminal.until("┤")
        terminal.press("j")
        terminal.until("eval", line=("▸", " demo "))
        terminal.run("resize-window", "-x", 50, "-y", 12)
        print(terminal.until("loss", "▸"))
        terminal.press("q")
        terminal.until("ended 0")
    finally:
        terminal.close()
    terminal = Terminal(folder, fleet, 60, 20, "C")
    try:
        page = terminal.until("> ", "demo")
        check(page.isascii(), "not ASCII alone:\n" + page)
        terminal.press("C-c")
        terminal.until("ended 130")
    finally:
        terminal.close()


def check_once(fleet):
    for width, height in ((80, 24), (50, 12), (120, 40)):
        page = fleet.qctl("top", "--once", "--width", width, "--height", height).stdout
        lines = page.splitlines()
        check(len(lines) == height and max(map(len, lines)) <= width and "demo" in page, "a page of\n" + page)
    check(fleet.qctl("top", "-o", "json", ok=False).returncode == 2, "top has no JSON")


def main():
    has_tmux = shutil.which("tmux") is not None
    with Scratch("looking") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 120, 1)
        toy.write_rows(folder("test.jsonl"), 16, 2)
        write_recipe(folder("demo.yml"), toy.recipe(folder, model, name="demo", max_steps=STEPS, eval_steps=EVALS,
                                                    save_steps=8, use_tensorboard=True))
        write_recipe(folder("big.yml"), toy.recipe(folder, model, name="big", max_steps=BIG_STEPS, eval_steps=50,
                                                   save_steps=100))
        write_recipe(folder("long.yml"), toy.recipe(folder, model, name="long", max_steps=100000, eval_steps=50,
                                                    save_steps=100, output_dir=folder("long")))
        with Fleet(folder("fleet")) as fleet:
            fleet.start_coordinator()
            fleet.start_worker("a")
            fleet.start_worker("b")
            job = fleet.submit(folder("demo.yml"))
            fleet.wait(job)
            check_metrics(fleet, folder, job)
            long = fleet.submit(folder("long.yml"))
            if has_tmux:
                check_live(folder, fleet)
            check_follow(fleet, folder, long)
            fleet.qctl("forget", long)
            big = fleet.submit(folder("big.yml"))
            fleet.wait(big)
            check_once(fleet)
            check_plots(fleet, folder, [job, big])
            check_watch(fleet, job, STEPS)
            check_watch(fleet, big, BIG_STEPS)
            check_calibration(fleet, folder, model)
            fleet.qctl("pull", job, folder("log"), "--log")
            json_schema.check_value(json_schema.check_files(), "inspect", fleet.json("inspect", folder("log")))
            with open(folder("log", "trainer_log.jsonl"), encoding="utf-8") as log:
                check(len(log.readlines()) == STEPS + STEPS // EVALS, "pull --log")
            check(len(records(event_file(folder("log", "runs")))) == 1 + STEPS + STEPS // EVALS, "pull --log, events")
        qctl("run", folder("demo.yml"))
        check(len(records(event_file(folder("out", "runs")))) == 1 + STEPS + STEPS // EVALS, "use_tensorboard")
        gone = subprocess.run([os.path.join(BIN, "qctl"), "top", "--once", "--coordinator", fleet.endpoint,
                               "--timeout", "1s"], capture_output=True, check=False)
        check(gone.returncode == 7, "without a coordinator: exit %d" % gone.returncode)
    if not has_tmux:
        skip("qctl top on a terminal, there is no tmux here (ops/deps installs it); everything else holds")
    print("looking: ok")


if __name__ == "__main__":
    main()
