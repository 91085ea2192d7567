#!/usr/bin/env python3
"""Calibration is not paid for twice: a second job on the same model, text and settings takes the statistics of the
first, also after the coordinator died, and gives the same bytes; another length or text measures anew."""
import sys

from fleet import Fleet, Scratch, check
from quantizing import done_tasks, need_data, pull, recipe, submit, texts


def measured(fleet, job):
    """Tasks that computed statistics, tasks whose result was taken over, and the stage's key."""
    row = next(row for row in fleet.json("graph", job) if row["name"] == "calibrate")
    check(row["key"] is not None, "the calibration has no key")
    return sum(task.startswith("calibrate[") for task in done_tasks(fleet, job)), row["reused"], row["key"]


def main():
    data = need_data()
    with Scratch("quantize-reuse") as folder, Fleet(folder("fleet")) as fleet:
        texts(folder, data)
        fleet.start_coordinator()
        for name in ("a", "b"):
            fleet.start_worker(name)
        seen, sums = {}, {}

        def run(name, **changes):
            job = submit(fleet, folder, recipe(folder, data, "importance", name="q", **changes))
            fleet.wait(job)
            seen[name] = (job, *measured(fleet, job))
            sums[name] = pull(fleet, job, folder("pull", name))
            print("%-16s measured %d, taken over %d, key %.12s" % (name, *seen[name][1:]), flush=True)

        run("first")
        run("second", priority=1)
        fleet.kill_coordinator()
        fleet.start_coordinator()
        run("after a restart", priority=2)
        run("another length", sequence_len=48)
        run("another text", text="other.txt")
        first, computed, taken, key = seen["first"]
        check(computed > 0 and taken == 0, "the first job took something over")
        for name in ("second", "after a restart"):
            job, again, taken, other = seen[name]
            check(again == 0 and taken == computed, "the %s job measured %d times" % (name, again))
            check(other == key, "the %s job has another key" % name)
            differ = [file for file in sums["first"] if sums[name].get(file) != sums["first"][file]]
            check(set(differ) <= {"quantization.json", "README.md"}, "the %s job made other bytes: %s" % (name, differ))
            shown = fleet.qctl("show", job).stdout
            check("reused %d of %d from job %.7s" % (computed, computed, seen["first"][0]) in shown
                  and key[:12] in shown, "show does not tell of it: %s" % shown)
        for name in ("another length", "another text"):
            _, again, taken, other = seen[name]
            check(again > 0 and taken == 0 and other != key, "%s took the statistics of the first" % name)
            check(sums[name]["imatrix.gguf"] != sums["first"]["imatrix.gguf"], "%s: equal importance" % name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
