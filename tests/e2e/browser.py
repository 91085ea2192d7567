"""browser - a headless Chromium driven over its DevTools pipe, with the standard library alone.

Every message of the console and every exception is kept in `complaints`; a test that ends with any
of them has failed.
"""
import base64
import json
import os
import shutil
import subprocess
import time

from fleet import check, skip

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-extensions", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe", "about:blank")
DEADLINE_S = 60


class Browser:
    """One page. Messages are JSON that ends in a zero byte: descriptor 3 in, descriptor 4 out."""

    def __init__(self, folder):
        program = next((p for p in map(shutil.which, PROGRAMS) if p), None)
        if program is None:
            skip("there is no chromium here; ops/deps installs it")
        their_in, self.out = os.pipe()
        self.input, their_out = os.pipe()
        # dup2 in the child: a pipe of ours may already be number 3 or 4.
        shell = "exec %s 3<&%d 4>&%d \"$@\"" % (program, their_in, their_out)
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "browser", "--user-data-dir=" + folder, *FLAGS], pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(their_in)
        os.close(their_out)
        self.buffer, self.last, self.session, self.complaints = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.input)

    def _read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.input, 1 << 16)
            check(part, "the browser is gone")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def _hear(self, message):
        method, values = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(values["entry"]["text"] + " " + values["entry"].get("url", ""))

    def call(self, method, **values):
        self.last += 1
        message = {"id": self.last, "method": method, "params": values}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") != self.last:
                self._hear(answer)
                continue
            check("error" not in answer, "%s: %s" % (method, answer.get("error")))
            return answer["result"]

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        check("exceptionDetails" not in result, "%s: %s" % (expression, result.get("exceptionDetails")))
        return result["result"].get("value")

    def wait(self, expression, seconds=DEADLINE_S):
        """Until the expression is true; returns its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            check(time.monotonic() < end, "in vain waited for %s; the page says: %s"
                  % (expression, self.evaluate("document.body.innerText")[:2000]))
            time.sleep(0.2)

    def resize(self, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def screenshot(self, path):
        """Of the whole page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        with open(path, "wb") as out:
            out.write(base64.b64decode(picture["data"]))
