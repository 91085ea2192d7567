#!/usr/bin/env python3
"""documents - what documents promise, held against the sources.

Tests that docs/COMPLAINTS.md names exist, and each complaint has one; each reason of schemas/reason.def is met by a test of
the scheduler; messages that docs/TROUBLESHOOTING.md quotes are in the programs (`...` stands for what varies).

    tests/lint/documents.py [ROOT]
"""
import glob
import os
import re
import sys

COMPLAINTS = 16
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
CONVERSION = re.compile(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t)?[diouxXeEfgGcsp]|%%")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def texts(root, *patterns):
    return "\n".join(read(path) for pattern in patterns
                     for path in sorted(glob.glob(os.path.join(root, pattern), recursive=True)))


def names_of_tests(root):
    names = set(re.findall(r"static void\s+(test_\w+)\(", texts(root, "tests/**/*.c")))
    names |= {"e2e_" + name for name in re.findall(r"^\s*e2e\((\w+) ", texts(root, "tests/e2e/CMakeLists.txt"), re.M)}
    return names, set(re.findall(r'^@test "(.*)" \{$', texts(root, "tests/e2e/*.bats"), re.M))


def check_complaints(root):
    document = read(os.path.join(root, "docs", "COMPLAINTS.md"))
    names, titles = names_of_tests(root)
    parts = re.split(r"^## (\d+)\. ", document, flags=re.M)[1:]
    if parts[::2] != [str(n + 1) for n in range(COMPLAINTS)]:
        yield "docs/COMPLAINTS.md: expected the sections 1 to %d, found %s" % (COMPLAINTS, " ".join(parts[::2]))
    for number, part in zip(parts[::2], parts[1::2]):
        promised = re.findall(r"`(test_\w+|e2e_\w+)`", part)
        quoted = re.findall(r'"([^"]+)"', " ".join(line for line in part.splitlines() if ".bats`" in line))
        missing = [name for name in promised if name not in names] + [title for title in quoted if title not in titles]
        for name in missing:
            yield "docs/COMPLAINTS.md: complaint %s: there is no test %s" % (number, name)
        if not promised and not quoted:
            yield "docs/COMPLAINTS.md: complaint %s has no test" % number


def check_reasons(root):
    tests = texts(root, "tests/unit/coordinator/sched/*.c")
    for name in re.findall(r"^    R\((\w+),", read(os.path.join(root, "schemas", "reason.def")), re.M):
        if not re.search(r"\bREASON_%s\b" % name, tests):
            yield "schemas/reason.def: no test of the scheduler meets %s" % name


def said(root):
    """What string literals say, those side by side as one, with `...` for each conversion."""
    source = texts(root, "cli/**/*.c", "coordinator/**/*.c", "worker/**/*.c", "common/**/*.c", "schemas/*.def")
    source = re.sub(r'"\s*(?:\\\n\s*)?PRI\w+\s*"?', lambda m: "d" + ("" if m.group(0).endswith('"') else '"'), source)
    source = re.sub(r'"\s*(?:\\\n\s*)?"', "", source)
    literals = "\n".join(LITERAL.findall(source)).replace('\\"', '"')
    return CONVERSION.sub(lambda m: "%" if m.group(0) == "%%" else "...", literals)


def check_messages(root):
    programs = said(root)
    lines = read(os.path.join(root, "docs", "TROUBLESHOOTING.md")).splitlines()
    quotes = [(n, quote) for n, line in enumerate(lines, 1) if line.startswith("> ") for quote in re.findall(r"`([^`]+)`", line)]
    if len(quotes) < 10:
        yield "docs/TROUBLESHOOTING.md: %d messages are quoted; is `> ` still their mark?" % len(quotes)
    for number, quote in quotes:
        if quote.strip(".") not in programs:
            yield "docs/TROUBLESHOOTING.md:%d: no program says \"%s\"" % (number, quote)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    findings = [*check_complaints(root), *check_reasons(root), *check_messages(root)]
    for finding in findings:
        print(finding)
    print("documents: %d findings" % len(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
