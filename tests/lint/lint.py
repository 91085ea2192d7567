#!/usr/bin/env python3
"""lint - the rules of the house, held against the sources as text.

Layers (who may include whom, from the DEPENDS of each folder's CMakeLists.txt), one door per
library, budgets for files and functions, banned calls with their replacement, names, ambient state.
Prints one line a finding, `file:line: what is wrong; what to do`, and exits 1 when there is any.

    tests/lint/lint.py [ROOT]
    tests/lint/lint.py --self-test
"""
import os
import re
import subprocess
import sys
import tempfile

SOURCE_ROOTS = ("common", "worker", "coordinator", "cli", "tests", "examples", "schemas")

# Header prefix -> folders that may include it (and tests of that folder's subject).
DOORS = {
    "msgpack": ("common/wire",),
    "czmq.h": ("common/transport",),
    "zmq.h": ("common/transport",),
    "lmdb.h": ("coordinator/store",),
    "cblas.h": ("worker/engine/kernel",),
    "openblas": ("worker/engine/kernel",),
    "lapacke.h": ("worker/engine/kernel",),
    "uv.h": ("coordinator/loop", "worker/loop"),
    "yaml.h": ("common/recipe",),
    "jansson.h": ("common/formats/json",),
    "pcre2.h": ("common/formats/tokenizer",),
    "utf8proc.h": ("common/formats/tokenizer", "cli/render"),
    "sodium": ("common/digest", "common/transport"),
    "zstd.h": ("coordinator/artifact",),
    "ncurses": ("cli/screen",),
    "curses": ("cli/screen",),
    "microhttpd.h": ("coordinator/http",),
}

# Call -> (folders where it is at home, what to use instead).
BANNED = {
    "malloc": (("common/mem",), "mem_alloc"),
    "calloc": (("common/mem",), "mem_alloc"),
    "realloc": (("common/mem",), "mem_resize"),
    "free": (("common/mem",), "mem_free"),
    "aligned_alloc": (("common/mem",), "mem_alloc_aligned"),
    "strdup": ((), "mem_copy_text"),
    "strcpy": ((), "a span and memcpy, or bytes_append"),
    "strcat": ((), "bytes_append"),
    "sprintf": ((), "snprintf or bytes_print"),
    "vsprintf": ((), "vsnprintf"),
    "strtok": ((), "a loop over a span"),
    "atoi": ((), "a checked parse"),
    "atol": ((), "a checked parse"),
    "atof": ((), "a checked parse"),
    "gets": ((), "fgets"),
    "rand": ((), "common/numeric/random.h"),
    "srand": ((), "common/numeric/random.h"),
    "drand48": ((), "common/numeric/random.h"),
    "time": (("coordinator/loop", "worker/loop", "cli/command"), "time as a field of the event"),
    "clock_gettime": (("coordinator/loop", "worker/loop", "cli/client", "cli/command", "worker/task",
                       "worker/cache", "common/transport"), "time as a field of the event"),
    "gettimeofday": ((), "time as a field of the event"),
    "getenv": (("cli/command",), "a value passed down from main"),
    "exit": (("cli/command",), "a returned error"),
    "abort": (("common/base",), "ASSERT"),
    "fork": (("cli/command",), "posix_spawn, before a context or a store exists"),
    "zlistx_sort": ((), "our heap; czmq 4.2.1 leaves lists unsorted"),
    "alloca": ((), "an arena"),
}

# libm functions whose last bit depends on the library; results must not.
LIBM = ("exp expf exp2 exp2f expm1 expm1f log logf log2 log2f log10 log1p log1pf sin sinf cos cosf tan tanf "
        "tanh tanhf erf erff pow powf sinh cosh cbrt").split()
LIBM_BANNED_IN = ("common/numeric", "worker/engine", "coordinator/aggregate", "coordinator/plan",
                  "coordinator/sched", "worker/task", "common/formats")

PURE = ("coordinator/plan", "coordinator/provider", "coordinator/sched", "coordinator/scale", "coordinator/aggregate",
        "worker/agent")
PURE_FORBIDDEN = ("unistd.h", "sys/socket.h", "pthread.h", "time.h", "fcntl.h", "stdio.h", "signal.h")
PURE_STDIO_OK = True  # snprintf for texts; files and streams are caught as calls below
PURE_CALLS = ("fopen", "open", "read", "write", "printf", "fprintf", "socket", "nanosleep")

BAD_STEMS = ("util", "utils", "misc", "helpers", "helper", "manager", "common2", "stuff")
LINES_C, LINES_H, LINES_FUNCTION, COLUMNS = 800, 250, 70, 100
EXEMPT = re.compile(r"\b(table|tables|generated|SIMD)\b", re.I)


class Findings:
    def __init__(self):
        self.rows = []

    def add(self, path, line, text):
        self.rows.append("%s:%d: %s" % (path, line, text))


def tracked(root):
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        out = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
    return sorted(p for p in out if p and os.path.isfile(os.path.join(root, p)))


def blank_comments_and_strings(text):
    """Same length and line breaks; comments and the insides of literals become spaces."""
    def blank(match):
        token = match.group(0)
        if token[0] in "\"'":
            return token[0] + re.sub(r"[^\n]", " ", token[1:-1]) + token[-1]
        return re.sub(r"[^\n]", " ", token)
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.S)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def module_depends(root, paths):
    """folder -> set of folders it may include, from qf_module and qf_program calls; with them the word THREADS."""
    depends = {}
    for path in paths:
        if not path.endswith("CMakeLists.txt") or path.startswith("tests/"):
            continue
        folder = os.path.dirname(path)
        text = open(os.path.join(root, path), encoding="utf-8").read()
        for call in re.finditer(r"qf_(?:module|program)\(([^)]*)\)", text):
            words = call.group(1).split()
            taking = False
            allowed = depends.setdefault(folder, set())
            for word in words:
                if word in ("DEPENDS", "LIBRARIES", "SOURCES"):
                    taking = word == "DEPENDS"
                elif taking or word == "THREADS":
                    allowed.add(word)
    return depends


def check_layers(path, code, depends, found):
    folder = os.path.dirname(path)
    if folder.startswith(("tests", "schemas", "examples")):
        return
    allowed = depends.get(folder)
    for match in re.finditer(r'^\s*#\s*include\s+"([^"\n]+)"', code, re.M):
        target = os.path.dirname(match.group(1))
        if target.startswith("schemas") or target == folder:
            continue
        if allowed is None or target not in allowed:
            found.add(path, line_of(code, match.start()),
                      "includes %s, which is not in DEPENDS of %s; a dependency is declared or not there"
                      % (match.group(1), folder))


def check_threads(path, code, depends, found):
    folder = os.path.dirname(path)
    if folder.startswith("tests") or "THREADS" in depends.get(folder, ()):
        return
    for match in re.finditer(r"\b(pthread_create|uv_thread_create|uv_queue_work|zactor_new)\s*\(", code):
        found.add(path, line_of(code, match.start()),
                  "%s without THREADS in CMakeLists.txt of %s, by which tests are found for tsan" % (match.group(1), folder))


def check_doors(path, code, found):
    folder = os.path.dirname(path)
    for match in re.finditer(r"^\s*#\s*include\s+<([^>\n]+)>", code, re.M):
        header = match.group(1)
        line = line_of(code, match.start())
        for prefix, homes in DOORS.items():
            if header.startswith(prefix) and not folder.startswith(tuple(homes) + ("tests/",)):
                found.add(path, line, "<%s> belongs to %s; use that module" % (header, " and ".join(homes)))
        if folder.startswith(PURE) and header in PURE_FORBIDDEN and not (header == "stdio.h" and PURE_STDIO_OK):
            found.add(path, line, "<%s> in a pure module; effects belong to loop/" % header)


def check_calls(path, code, found):
    folder = os.path.dirname(path)
    in_test = folder.startswith(("tests", "examples"))
    is_main = os.path.basename(path) == "main.c"
    for name, (homes, instead) in BANNED.items():
        if folder.startswith(tuple(homes)) if homes else False:
            continue
        if (in_test and name in ("getenv", "exit", "abort", "fork", "time", "clock_gettime", "free")) or \
                (is_main and name in ("getenv", "exit", "clock_gettime")):
            continue
        for match in re.finditer(r"(?<![\w.>])%s\s*\(" % name, code):
            found.add(path, line_of(code, match.start()), "%s is banned here; use %s" % (name, instead))
    if folder.startswith(LIBM_BANNED_IN):
        for match in re.finditer(r"(?<![\w.>])(?:%s)\s*\(" % "|".join(LIBM), code):
            found.add(path, line_of(code, match.start()),
                      "libm differs between machines; use common/numeric/scalar.h")
    if folder.startswith(PURE):
        for match in re.finditer(r"(?<![\w.>])(?:%s)\s*\(" % "|".join(PURE_CALLS), code):
            found.add(path, line_of(code, match.start()), "an effect in a pure module; return it instead")


def check_budgets(path, text, code, found):
    lines = text.split("\n")
    first = "\n".join(lines[:3])
    exempt = EXEMPT.search(first) is not None
    limit = LINES_H if path.endswith(".h") else LINES_C
    if len(lines) > limit + 1 and not exempt:
        found.add(path, limit, "%d lines, the budget is %d; split it by noun" % (len(lines), limit))
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            found.add(path, number, "%d columns, the budget is %d" % (len(line), COLUMNS))
        if "\t" in line:
            found.add(path, number, "a tab; indent with four spaces")
    if exempt:
        return
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > LINES_FUNCTION:
                found.add(path, start, "a function of %d lines, the budget is %d; split it"
                          % (number - start - 1, LINES_FUNCTION))
            start = None


def check_state(path, code, found):
    folder = os.path.dirname(path)
    if folder.endswith("/loop") or folder.startswith(("tests", "examples")):
        return
    depth = 0
    for number, line in enumerate(code.split("\n"), 1):
        if depth == 0 and re.match(r"^(static\s+)?(_Thread_local\s+)?[\w\s]+[\s*]\w+(\[[^\]]*\])*\s*(=|;)", line):
            word = line.split()[0]
            ambient = word not in ("typedef", "return", "extern", "struct", "enum", "union") or \
                line.startswith(("struct", "enum")) and "=" in line
            if ambient and "const" not in line and "(" not in line.split("=")[0] and \
                    "_Thread_local" not in line and "_Static_assert" not in line:
                found.add(path, number, "ambient state; put it into a struct that is passed")
        if "_Thread_local" in line and depth == 0 and folder not in ("common/mem", "common/formats/json"):
            found.add(path, number, "thread-local state; pass it")
        depth += line.count("{") - line.count("}")


def check_names(paths, found):
    stems = {}
    for path in paths:
        if not path.endswith((".c", ".h")) or os.path.basename(path) == "main.c":
            continue
        base = os.path.basename(path)
        stem, ending = os.path.splitext(base)
        if stem in BAD_STEMS:
            found.add(path, 1, "a name that refuses nothing; name it by its noun")
        if path.startswith(("tests", "examples")):
            continue
        other = stems.setdefault((stem, ending), path)
        if other != path:
            found.add(path, 1, "%s exists already at %s; stems are unique in the tree" % (base, other))
    for path in paths:
        for part in os.path.dirname(path).split("/"):
            if part in BAD_STEMS:
                found.add(path, 1, "a folder name that refuses nothing")


def check_symbols(path, code, found):
    """Functions declared in foo.h are called foo_..."""
    if not path.endswith(".h") or path.startswith(("tests", "examples", "schemas")):
        return
    stem = os.path.basename(path)[:-2]
    flat = re.sub(r"__attribute__\s*\(\(.*?\)\)", " ", code)
    for match in re.finditer(r"^(?!\s|#|typedef|static|return)[\w\s\*]*?\b(\w+)\s*\(", flat, re.M):
        name = match.group(1)
        if name.isupper() or name in ("MUST_CHECK", "PRINTF", "sizeof", "_Static_assert"):
            continue
        if not name.startswith((stem + "_", stem.rstrip("s") + "_")) and name != stem:
            found.add(path, line_of(flat, match.start(1)),
                      "%s is declared in %s.h; its name starts with the file's stem" % (name, stem))


def check_marks(path, text, found):
    for match in re.finditer(r"\b(TODO|FIXME|XXX|HACK)\b", text):
        found.add(path, line_of(text, match.start()), "a mark of unfinished work; finish it or leave it out")


def lint(root):
    found = Findings()
    paths = tracked(root)
    depends = module_depends(root, paths)
    check_names(paths, found)
    for path in paths:
        if not path.startswith(SOURCE_ROOTS) or not path.endswith((".c", ".h", ".def")):
            continue
        text = open(os.path.join(root, path), encoding="utf-8").read()
        code = blank_comments_and_strings(text)
        check_marks(path, text, found)
        if path.endswith(".def"):
            continue
        kept = re.sub(r'"([^"\n]*)"', r'"\1"', text)
        check_layers(path, re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), kept, flags=re.S),
                     depends, found)
        check_threads(path, code, depends, found)
        check_doors(path, code, found)
        check_calls(path, code, found)
        check_budgets(path, text, code, found)
        check_state(path, code, found)
        check_symbols(path, code, found)
    return found.rows


SELF_TEST = {
    "common/base/CMakeLists.txt": "qf_module()\n",
    "common/mem/CMakeLists.txt": "qf_module(DEPENDS common/base)\n",
    "common/base/bad.c": '#include "common/mem/mem.h"\n#include <msgpack.h>\nstatic int counter = 0;\n'
                         "void bad_run(void)\n{\n    char *p = malloc(3);\n" + "    p++;\n" * 71 + "}\n",
    "common/base/good.h": "int good_get(void);\nint other_get(void);\n",
    "common/mem/util.c": "int util_x(void)\n{\n    return 1; /* malloc( in a comment is fine */\n}\n",
    "common/mem/team.c": "int team_go(void)\n{\n    return uv_queue_work(0, 0, 0, 0);\n}\n",
    "worker/loop/CMakeLists.txt": "qf_module(THREADS DEPENDS common/base)\n",
    "worker/loop/team_of.c": "int team_of_go(void)\n{\n    return uv_queue_work(0, 0, 0, 0);\n}\n",
    "coordinator/sched/CMakeLists.txt": "qf_module()\n",
    "coordinator/sched/pure.c": "#include <pthread.h>\nint pure_x(void)\n{\n    return 1;\n}\n",
}
SELF_TEST_EXPECTED = (
    "not in DEPENDS", "<msgpack.h> belongs to", "ambient state", "malloc is banned", "a function of 72 lines",
    "other_get is declared in good.h", "name it by its noun", "<pthread.h> in a pure module",
    "uv_queue_work without THREADS",
)


def self_test():
    with tempfile.TemporaryDirectory() as root:
        for path, text in SELF_TEST.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as out:
                out.write(text)
        rows = lint(root)
    failed = [e for e in SELF_TEST_EXPECTED if not any(e in row for row in rows)]
    if len(rows) != len(SELF_TEST_EXPECTED):
        failed.append("%d findings instead of %d: %s" % (len(rows), len(SELF_TEST_EXPECTED), rows))
    for text in failed:
        print("lint self-test: not found: " + text)
    return 1 if failed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    rows = lint(root)
    for row in rows:
        print(row)
    print("lint: %d findings" % len(rows))
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main())
