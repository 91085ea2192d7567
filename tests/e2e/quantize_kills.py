#!/usr/bin/env python3
"""kill -9 in every stage of quantize jobs, whatever the method: a worker dies in each kind of stage, the coordinator
in mid-job, both together when half of the tensors are done. The results equal the undisturbed ones, no task is
committed twice, and what was done at half is not done again.

    quantize_kills.py [ROUNDS [SEED]]    ROUNDS: how often each method's job is disturbed
"""
import collections
import random
import re
import signal
import sys
import time

from fleet import DEADLINE_S, Fleet, Scratch, check
from quantizing import METHODS, check_once, done_tasks, need_data, pull, recipe, submit, texts

KINDS = {"prepare", "pack", "calibrate", "reduce", "choose", "quantize", "replay", "assemble", "verify", "compare",
         "report"}
# Their tasks last long enough to be met; the others often, not always.
LONG = {"calibrate", "quantize", "replay", "compare"}
ATTEMPTS = 5  # to be in time with a job that may be over when this script wakes up


class Hand:
    """Lets the workers go on for moments only, so that what they are at is seen while they are at it."""

    def __init__(self, fleet, source):
        self.fleet, self.source, self.made, self.hit = fleet, source, 0, set()
        self.asked = collections.deque([0.02], maxlen=10)  # how long the last questions took, in seconds

    def start(self):
        self.fleet.start_worker("w%d" % self.made)
        self.made += 1

    def signal(self, number):
        for process in self.fleet.workers.values():
            process.send_signal(number)

    def glance(self, length_s, wanted):
        """Name of a worker and the kind of stage it stopped in: one that is wanted, if there is."""
        self.signal(signal.SIGCONT)
        time.sleep(length_s)
        self.signal(signal.SIGSTOP)
        began = time.monotonic()
        workers = self.fleet.json("workers")
        self.asked.append(time.monotonic() - began)
        rows = [(row["name"], row["task"].split()[0]) for row in workers
                if row["name"] in self.fleet.workers and row["task"]]
        self.source.shuffle(rows)
        return min(rows, key=lambda row: row[1] not in wanted, default=(None, None))

    def step(self, wanted):
        """On for a moment, as long as a question takes: a slow machine does as much in it. A worker dies in a kind of
        stage that is wanted."""
        name, kind = self.glance(self.source.uniform(0.5, 1.5) * min(self.asked), wanted)
        if kind in wanted:
            wanted.discard(kind)
            self.hit.add(kind)
            self.fleet.kill_worker(name)
            self.start()

    def restart_coordinator(self):
        self.fleet.kill_coordinator()
        self.fleet.start_coordinator()


def events(fleet, job):
    return [row["text"] for row in fleet.json_lines("logs", job)]


def count_to_quantize(texts_of):
    """How many tasks quantize, as choose told it; None before."""
    facts = dict(re.findall(r"(\w+) (\d+)", " ".join(t for t in texts_of if t.startswith("choose[0] done"))))
    if "replay_periods" in facts:
        return int(facts["replay_periods"]) * (int(facts["replay_shards"]) + int(facts["replay_groups"]))
    return int(facts["quantize_tasks"]) if "quantize_tasks" in facts else None


def to_half(fleet, hand, job, wanted):
    """Workers die in the kinds wanted; when half of the tensors are done, everything dies. None: the job was over
    before that."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        hand.step(wanted)
        said = events(fleet, job)
        total = count_to_quantize(said)
        done = [text for text in said if text.startswith(("quantize[", "replay[")) and " done by " in text]
        if total is not None and len(done) >= total // 2:
            break
    before = done_tasks(fleet, job)
    if any(task.startswith("report") for task in before):
        return None
    for name in list(fleet.workers):
        fleet.kill_worker(name)
    hand.restart_coordinator()
    check(done_tasks(fleet, job)[:len(before)] == before, "what was done is forgotten")
    for _ in range(2):
        hand.start()
    return before


def disturbed(fleet, hand, job, wanted):
    """From half on: further kinds, and the coordinator dies once more. Returns what happened, None as above."""
    before = to_half(fleet, hand, job, wanted)
    if before is None:
        return None
    restart = hand.source.randint(0, 8)
    for moment in range(10000):
        if moment == restart:
            hand.restart_coordinator()
        if not wanted and moment >= restart or any(text.startswith("job: ok") for text in events(fleet, job)):
            break
        hand.step(wanted)
    hand.signal(signal.SIGCONT)
    fleet.wait(job)
    after = check_once(fleet, job)
    check(after[:len(before)] == before, "what was done is done again")
    return "%2d tasks at half, %2d after" % (len(before), len(after) - len(before))


def undisturbed(folder, data):
    with Fleet(folder("fleet")) as fleet:
        fleet.start_coordinator()
        for name in ("a", "b"):
            fleet.start_worker(name)
        jobs = {method: submit(fleet, folder, recipe(folder, data, method)) for method in METHODS}
        sums = {}
        for method, job in jobs.items():
            fleet.wait(job)
            sums[method] = pull(fleet, job, folder("undisturbed", method))
        return sums


def disturb(folder, data, source, method, number, sums, hit):
    """A job of this method, in a fleet that knows nothing of it. Returns what kinds were hit, beside those in `hit`."""
    for attempt in range(ATTEMPTS):
        place = "%s-%d-%d" % (method, number, attempt)
        with Fleet(folder("fleet-" + place)) as fleet:
            hand = Hand(fleet, source)
            fleet.start_coordinator()
            for _ in range(2):
                hand.start()
            job = submit(fleet, folder, recipe(folder, data, method))
            said = disturbed(fleet, hand, job, KINDS - hit)
            if said is None:
                hand.signal(signal.SIGCONT)  # that they end by themselves
                continue
            check(pull(fleet, job, folder("pull", place)) == sums, "%s: the disturbed result differs" % place)
        print("%-12s %s; killed in: %s" % (method, said, ", ".join(sorted(hand.hit))), flush=True)
        return hand.hit
    raise AssertionError("%s: the job was over before it could be interrupted" % method)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    data, source = need_data(), random.Random(seed)
    with Scratch("quantize-kills") as folder:
        texts(folder, data)
        sums = undisturbed(folder, data)
        hit = set()
        for number in range(rounds):
            for method in METHODS:
                # One round hits each kind once; more rounds hit it in every method's job.
                hit |= disturb(folder, data, source, method, number, sums[method], hit if rounds == 1 else set())
        check(hit >= LONG, "no worker was killed in %s" % sorted(LONG - hit))
        print("killed in: %s" % ", ".join(sorted(hit)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
