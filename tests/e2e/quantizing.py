"""quantizing - a job for every method of `quantize:`, small enough that all run in seconds, and what is compared
of them: every file of a result, and every artifact between, statistics and importance among them."""
import os

from fleet import check, data_folder, sha256, skip, write, write_recipe

SMALL, WIDE = "/models/TinyStories-656K", "/models/lm-6m"
TEXT = "/text/tinystories-train-head.txt"
WINDOWS = 6
# K-quants want widths that 256 divides.
METHODS = {
    "importance": (WIDE, {"scheme": "Q4_K_M", "samples": WINDOWS}),
    "plain": (SMALL, {"scheme": "Q4_0", "method": "rtn"}),
    "rtn": (SMALL, {"scheme": "W4A16", "method": "rtn", "samples": WINDOWS}),
    "gptq": (SMALL, {"scheme": "W4A16", "method": "gptq", "samples": WINDOWS}),
    "awq": (SMALL, {"scheme": "W4A16_ASYM", "method": "awq", "samples": WINDOWS}),
    "smoothquant": (SMALL, {"scheme": "W8A8", "method": "smoothquant", "samples": WINDOWS}),
    "static": (SMALL, {"scheme": "W8A8", "method": "rtn", "activations": "static", "observer": "percentile",
                       "samples": WINDOWS}),
    "nf4": (SMALL, {"scheme": "NF4"}),
    "target": (SMALL, {"target_bpw": 6, "samples": WINDOWS, "sensitivity_tokens": 64}),
}
UNMEASURED = ("plain", "nf4")


def need_data():
    data = data_folder()
    if data is None:
        skip("no folder of real models (QFLEET_DATA or ../shared/data)")
    return data


def texts(folder, data):
    """Calibration text, another one, and test text, from three places of one file."""
    with open(data + TEXT, encoding="utf-8") as file:
        text = file.read()
    write(folder("calib.txt"), text[:6000])
    write(folder("other.txt"), text[200000:206000])
    write(folder("test.txt"), text[-1500:])


def recipe(folder, data, method, text="calib.txt", **changes):
    model, quantize = METHODS[method]
    keys = {
        "base_model": data + model, "name": method, "sequence_len": 64, "quantize": dict(quantize),
        "test_datasets": [{"path": folder("test.txt")}], "output_dir": folder("out", method),
    }
    if method not in UNMEASURED:
        keys["calibration_datasets"] = [{"path": folder(text)}]
    keys.update(changes)
    return keys


def submit(fleet, folder, keys):
    path = folder("recipes", "%s.yml" % keys["name"])
    write_recipe(path, keys)
    return fleet.submit(path)


def files(path):
    """SHA-256 of every file below it."""
    return {os.path.relpath(os.path.join(at, name), path): sha256(os.path.join(at, name))
            for at, _, names in os.walk(path) for name in names}


def pull(fleet, job, target):
    fleet.qctl("pull", job, target)
    return files(target)


def artifacts(fleet):
    """Digests of all that the tasks of all jobs made: the store names files by their content."""
    found = set()
    for at, _, names in os.walk(os.path.join(fleet.data, "artifacts")):
        found.update(os.path.basename(at) + name for name in names if len(name) == 62)
    check(found, "the coordinator stored nothing")
    return found


def done_tasks(fleet, job):
    """"quantize[3]" of every result that was committed, in the log's order."""
    texts_of = [row["text"] for row in fleet.json_lines("logs", job)]
    return [text.split(" done by ")[0] for text in texts_of if " done by " in text]


def check_once(fleet, job):
    done = done_tasks(fleet, job)
    check(done and len(done) == len(set(done)), "a task was committed twice: %s" % sorted(done))
    return done
