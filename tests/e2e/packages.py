#!/usr/bin/env python3
"""Debian packages on a clean Debian root: made by CPack, installed by dpkg, set up by qctl init, the
services started as their units say, a job run, all of it purged; afterwards the root is as it was.

Needs root, debootstrap and a Debian mirror; without them it says so and exits 77.
"""
import glob
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import toy
from fleet import BIN, Scratch, check, free_ports, skip, write_recipe

BUILD = os.path.dirname(os.path.abspath(BIN))
PACKAGES = ("common", "client", "coordinator", "worker")


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    check(done.returncode == 0, "%s: exit %d\n%s" % (shlex.join(command), done.returncode, done.stdout))
    return done.stdout


def release():
    """Code name of the Debian this is built on: what packages are linked against."""
    with open("/etc/os-release", encoding="utf-8") as file:
        facts = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return facts.get("VERSION_CODENAME") if facts.get("ID") == "debian" else None


def mirror(suite):
    url = os.environ.get("QFLEET_DEBIAN_MIRROR", "http://deb.debian.org/debian")
    try:
        with urllib.request.urlopen("%s/dists/%s/Release" % (url, suite), timeout=10):
            return url
    except OSError as error:
        skip("no Debian mirror at %s: %s" % (url, error))


def make_packages(folder):
    if not os.path.exists(os.path.join(BUILD, "CPackConfig.cmake")):
        skip("%s makes no packages (an instrumented build)" % BUILD)
    # Nothing is built here: other tests run what lies there.
    for name in ("bin/qctl", "bin/qfleet-coordinator", "bin/qfleet-worker", "package/qctl.1.gz"):
        check(os.path.exists(os.path.join(BUILD, name)), "not built: %s/%s (cmake --build %s)" % (BUILD, name, BUILD))
    run("cpack", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", folder, cwd=BUILD)
    found = {}
    for name in PACKAGES:
        paths = glob.glob("%s/qfleet-%s_*.deb" % (folder, name))
        check(len(paths) == 1, "expected one package qfleet-%s, found %s" % (name, paths))
        found[name] = paths[0]
    return found


def depends(package):
    text = run("dpkg-deb", "-f", package, "Depends").strip()
    names = [re.sub(r"[ (|].*", "", part.strip()) for part in text.split(",") if part.strip()]
    return [name for name in names if not name.startswith("qfleet-")]


class Root:
    """A Debian in a folder."""

    def __init__(self, path, suite, url, include):
        self.path = path
        # dpkg need not wait for the disk: nobody keeps this root.
        run("debootstrap", "--variant=minbase", "--include=" + ",".join(sorted(include)), suite, path, url,
            env=dict(os.environ, DPKG_FORCE="unsafe-io"))
        subprocess.run(["mount", "-t", "proc", "proc", self("proc")], stderr=subprocess.DEVNULL, check=False)
        # Services are not started in a root that nobody booted.
        with open(self("usr/sbin/policy-rc.d"), "w", encoding="utf-8") as out:
            out.write("#!/bin/sh\nexit 101\n")
        os.chmod(self("usr/sbin/policy-rc.d"), 0o755)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if os.path.ismount(self("proc")):
            run("umount", "-l", self("proc"))

    def __call__(self, path):
        return os.path.join(self.path, path.lstrip("/"))

    def run(self, *command, user=None):
        chroot = ["chroot"] + (["--userspec=%s:%s" % (user, user)] if user else []) + [self.path]
        return run(*chroot, *command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                                           "HOME": "/root"})

    def files(self):
        """Every path but those in which dpkg itself keeps notes, and what accounts there are."""
        found = set()
        for folder, folders, names in os.walk(self.path):
            inner = folder[len(self.path):]
            folders[:] = [name for name in folders if inner or name not in ("proc", "sys", "dev", "run", "tmp")]
            found.update("%s/%s" % (inner, name) for name in folders + names)
        noise = re.compile(r"^/(var/lib/dpkg/|var/log/|var/cache/(debconf|ldconfig)/|etc/(\w+-|\.pwd\.lock)$)")
        return {path for path in found if not noise.match(path)}

    def accounts(self):
        found = {}
        for name in ("passwd", "group", "shadow", "gshadow"):
            with open(self("etc/" + name), encoding="utf-8") as file:
                found[name] = sorted(file)
        return found


class Service:
    """What systemd does with a unit, as far as it matters here: user, folders, environment, a
    notification socket, a watchdog."""

    def __init__(self, root, name):
        self.root = root
        self.name = name
        self.rows = {}
        with open(root("usr/lib/systemd/system/%s.service" % name), encoding="utf-8") as file:
            for line in file:
                if "=" in line and not line.startswith("#"):
                    key, value = line.rstrip().split("=", 1)
                    self.rows[key] = value
        self.user = self.rows["User"]
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind("\0qfleet-test-%s-%d" % (name, os.getpid()))
        self.heard = []
        self.news = threading.Condition()
        # The queue of a socket is short, and what finds it full is not said again.
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            text = self.listener.recv(4096).decode()
            with self.news:
                self.heard.append(text)
                self.news.notify()

    def _folders(self):
        for key, parent in (("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")):
            if key in self.rows:
                path = "%s/%s" % (parent, self.rows[key])
                self.root.run("install", "-d", "-o", self.user, "-g", self.user, "-m", self.rows[key + "Mode"], path)

    def _command(self):
        with open(self.root(self.rows["EnvironmentFile"]), encoding="utf-8") as file:
            options = re.search(r'^QFLEET_OPTIONS="(.*)"$', file.read(), re.M).group(1)
        return self.rows["ExecStart"].replace("$QFLEET_OPTIONS", options).split()

    def start(self, log):
        check(os.path.exists(self.root(self.rows["ConditionPathExists"])), "%s would not start" % self.name)
        self._folders()
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "@qfleet-test-%s-%d" % (self.name, os.getpid()),
                       "WATCHDOG_USEC": "2000000"}
        self.process = subprocess.Popen(
            ["chroot", "--userspec=%s:%s" % (self.user, self.user), self.root.path, *self._command()],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_for("READY=1", 60)

    def wait_for(self, word, seconds, since=0):
        """Until it has said the word, `since` so many others."""
        end = time.monotonic() + seconds
        with self.news:
            while word not in self.heard[since:]:
                check(self.process.poll() in (None, 0), "%s ended with %s" % (self.name, self.process.returncode))
                check(time.monotonic() < end, "%s did not say %s in %d s; it said %s"
                      % (self.name, word, seconds, self.heard))
                self.news.wait(0.5)

    def stop(self):
        self.process.terminate()
        check(self.process.wait(60) == 0, "%s ended with %d" % (self.name, self.process.returncode))
        self.wait_for("STOPPING=1", 60)


def run_job(root, log):
    root.run("qctl", "init", "--host", "127.0.0.1", "--listen", "127.0.0.1", "--port",
             str(free_ports(2)[0]))  # the second is for files
    for name in ("coordinator.key", "worker.key"):
        check(root.run("stat", "-c", "%U %a", "/etc/qfleet/" + name).strip() == "qfleet 600", "modes of " + name)
    check(root.run("stat", "-c", "%U %a", "/etc/qfleet/admin.key").strip() == "root 600", "modes of admin.key")
    coordinator, worker = Service(root, "qfleet-coordinator"), Service(root, "qfleet-worker")
    coordinator.start(log)
    try:
        worker.start(log)
        coordinator.wait_for("STATUS=1 worker", 60)
        found = root.run("qctl", "doctor")
        print(found.strip())
        check("welcomes this client" in found, "the doctor did not reach the coordinator")
        root.run("qctl", "submit", "/srv/job/recipe.yml", "--wait")
        print(root.run("qctl", "jobs").strip())
        root.run("qctl", "pull", "last", "/srv/job/pulled")
        check(os.path.exists(root("/srv/job/pulled/adapter_model.safetensors")), "no adapter came out")
        for service in (coordinator, worker):
            service.wait_for("WATCHDOG=1", 60, since=len(service.heard))
        worker.stop()
        check(any(text.startswith("STATUS=computes: ") for text in worker.heard), "the worker told no status")
    finally:
        for service in (worker, coordinator):
            if getattr(service, "process", None) is not None and service.process.poll() is None:
                service.process.terminate() if service is coordinator else service.process.kill()
                service.process.wait(60)
    check(coordinator.process.returncode == 0, "the coordinator ended with %d" % coordinator.process.returncode)


def check_upgrade(root, packages):
    kept = ("/etc/qfleet/admin.key", "/etc/qfleet/keys.list", "/var/lib/qfleet/store/data.mdb")
    before = [root.run("sha256sum", path) for path in kept]
    paths = ["/tmp/debs/" + os.path.basename(path) for path in packages.values()]
    root.run("dpkg", "-i", *paths)
    root.run("dpkg", "--remove", *("qfleet-" + name for name in reversed(PACKAGES)))
    check(not os.path.exists(root("/usr/bin/qctl")), "removing leaves programs")
    root.run("dpkg", "-i", *paths)
    check([root.run("sha256sum", path) for path in kept] == before, "keys or records have changed")


def check_mounts(root):
    """What somebody mounted among our data is not ours, and a disk mounted as our folder is no failure."""
    data, cache = root("/var/lib/qfleet"), root("/var/cache/qfleet-worker")
    below, disk, mounted = data + "/models", root("/srv/disk"), []

    def mount(*words):
        if subprocess.run(["mount", *words], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            mounted.append(words[-1])
        return words[-1] in mounted

    os.makedirs(below)
    os.makedirs(disk)
    try:
        if not mount("--bind", disk, below) or not mount("-t", "tmpfs", "none", cache):
            print("nothing can be mounted here: purging over mounts was not tried")
            return
        for path in (disk + "/precious", cache + "/ours"):
            with open(path, "w", encoding="ascii") as out:
                out.write("mine")
        before = sorted(os.listdir(data))
        root.run("sh", "/var/lib/dpkg/info/qfleet-coordinator.postrm", "purge")
        check(sorted(os.listdir(data)) == before and os.listdir(disk) == ["precious"], "purging went over a mount")
        root.run("sh", "/var/lib/dpkg/info/qfleet-worker.postrm", "purge")
        check(os.listdir(cache) == [], "purging left what is ours on a disk of its own")
    finally:
        for place in mounted:
            run("umount", place)
        os.rmdir(below)
        shutil.rmtree(disk)


def write_job(folder):
    def qctl(*words):
        subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
    os.makedirs(folder)
    model = toy.make_model(qctl, folder)
    toy.write_rows(folder + "/train.jsonl", 40, 1)
    toy.write_rows(folder + "/test.jsonl", 8, 2)
    keys = toy.recipe(lambda name: "/srv/job/" + name, "/srv/job/" + os.path.basename(model), max_steps=3, save_steps=1)
    write_recipe(folder + "/recipe.yml", keys)


def check_contents(root):
    for path in ("/usr/bin/qctl", "/usr/bin/qfleet-coordinator", "/usr/bin/qfleet-worker"):
        root.run(path, "--version")
    for path in ("man/man1/qctl.1.gz", "man/man1/qfleet-coordinator.1.gz", "man/man1/qfleet-worker.1.gz",
                 "man/man5/qfleet-recipe.5.gz", "bash-completion/completions/qctl", "zsh/vendor-completions/_qctl",
                 "fish/vendor_completions.d/qctl.fish"):
        # minbase keeps documents out only where it was told to; what was installed must be there.
        check(os.path.getsize(root("/usr/share/" + path)) > 500, "%s is missing" % path)
    if shutil.which("systemd-analyze"):
        for name in ("qfleet-coordinator", "qfleet-worker"):
            unit = root("usr/lib/systemd/system/%s.service" % name)
            run("systemd-analyze", "security", "--offline=true", "--threshold=25", unit)


def main():
    if os.geteuid() != 0:
        skip("a root needs root")
    for program in ("debootstrap", "cpack", "dpkg-shlibdeps"):
        if shutil.which(program) is None:
            skip("no %s here" % program)
    suite = release()
    if suite is None:
        skip("this is not Debian")
    url = mirror(suite)
    began = time.monotonic()

    def lap(what):
        print("%5.1f s  %s" % (time.monotonic() - began, what), flush=True)

    with Scratch("packages") as folder:
        packages = make_packages(folder("debs"))
        lap("packages made")
        for name in PACKAGES:
            print(run("dpkg-deb", "-f", packages[name], "Package", "Depends", "Installed-Size").strip())
        include = {name for package in packages.values() for name in depends(package)}
        with Root(folder("root"), suite, url, include) as root, open(folder("log"), "ab") as log:
            lap("debootstrap: %s with %d packages that ours need" % (suite, len(include)))
            write_job(root("/srv/job"))
            files, accounts = root.files(), root.accounts()
            os.makedirs(root("/tmp/debs"))
            for path in packages.values():
                shutil.copy(path, root("/tmp/debs"))
            root.run("dpkg", "-i", *("/tmp/debs/" + os.path.basename(path) for path in packages.values()))
            lap("dpkg -i")
            check_contents(root)
            run_job(root, log)
            lap("a job on the installed services")
            check_upgrade(root, packages)
            lap("installed over itself, removed, installed again: keys and records are kept")
            check_mounts(root)
            root.run("dpkg", "--purge", *("qfleet-" + name for name in reversed(PACKAGES)))
            shutil.rmtree(root("/srv/job/pulled"))
            left = sorted(root.files() - files)
            check(not left, "left after purge: %s" % left)
            gone = sorted(files - root.files())
            check(not gone, "gone after purge: %s" % gone)
            check(root.accounts() == accounts, "accounts are not as before")
            lap("purge: %d paths and all accounts as before" % len(files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
