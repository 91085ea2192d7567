#!/usr/bin/env python3
"""The same quantized files whatever the fleet does: for each method, one SHA-256 of every file of the result and of
every artifact on the way (statistics, importance, Gram matrices, tensors), with 1, 2 and 3 workers, 1 and 2
threads, and two instruction sets. Another calibration text gives another result."""
import sys

from fleet import Fleet, Scratch, check
from quantizing import METHODS, UNMEASURED, artifacts, check_once, need_data, pull, recipe, submit, texts
from same_bits import cpu_rows

VARIANTS = (("1 worker", 1, 1, "best"), ("2 workers", 2, 1, "best"),
            ("3 workers, 2 threads, portable", 3, 2, "portable"),
            ("1 worker, 2 threads, avx2", 1, 2, "avx2" if "avx2" in cpu_rows() else "best"))


def run_all(folder, data, place, workers, threads, isa, **changes):
    """All methods' jobs at once on a fleet of their own: files by method, digests of all artifacts."""
    with Fleet(folder("fleet-" + place)) as fleet:
        fleet.start_coordinator()
        for number in range(workers):
            fleet.start_worker("w%d" % number, threads=threads, isa=isa)
        methods = [name for name in METHODS if not changes or name not in UNMEASURED]
        jobs = {name: submit(fleet, folder, recipe(folder, data, name, **changes)) for name in methods}
        results = {}
        for name, job in jobs.items():
            fleet.wait(job)
            check_once(fleet, job)
            results[name] = pull(fleet, job, folder("pull-" + place, name))
        return results, artifacts(fleet)


def main():
    data = need_data()
    with Scratch("quantize-bits") as folder:
        texts(folder, data)
        first, made = None, None
        for number, (name, workers, threads, isa) in enumerate(VARIANTS):
            results, stored = run_all(folder, data, str(number), workers, threads, isa)
            first, made = (results, stored) if first is None else (first, made)
            for method, sums in results.items():
                check(sums == first[method], "%s: %s differs: %s" % (
                    name, method, [n for n in first[method] if sums.get(n) != first[method][n]]))
            check(stored == made, "%s: artifacts that the first run has not: %s, not made: %s"
                  % (name, sorted(stored - made), sorted(made - stored)))
            print("%-32s %d files, %d artifacts" % (name, sum(map(len, results.values())), len(stored)), flush=True)
        other, _ = run_all(folder, data, "other", 2, 1, "best", text="other.txt")
        for method, sums in other.items():
            weights = [n for n in sums if n.endswith((".gguf", ".safetensors"))]
            check(weights and all(sums[n] != first[method][n] for n in weights),
                  "%s: another calibration text gave the same result" % method)
        for method, sums in first.items():
            for name in sorted(sums):
                print("%-12s %-28s %s" % (method, name, sums[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
