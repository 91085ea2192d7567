#!/usr/bin/env python3
"""The page in a real browser: a token lets in, a running job's loss grows while one looks, there is
no word on the console, nothing is wider than 400 pixels, light and dark. With a folder as argument
it leaves screenshots there."""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import toy
from browser import Browser
from fleet import BIN, DEADLINE_S, Fleet, Scratch, check, write_recipe

WIDTHS = ((1200, 900), (400, 800))
STEPS, DONE_STEPS = 1500, 100  # of the job that runs while one looks, and of the one that is done


def get(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token} if token else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def refused(url, token=None):
    try:
        get(url, token)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def check_doors(fleet, token):
    """What anybody may see, and what needs the token."""
    check(get(fleet.http + "healthz") == "ok\n", "healthz")
    check(refused(fleet.http + "api/jobs") == 401, "jobs without a token")
    check(refused(fleet.http + "api/jobs", token[:-1] + "x") == 401, "jobs with a wrong token")
    check(refused(fleet.http) == 401, "the page without a token")
    check(refused(fleet.http + "api/jobs/nobody", token) == 404, "a job that is not there")
    check(refused(fleet.http + "../http.token", token) == 404, "a path out of the page")


def same_json(fleet, token, job):
    """The page is told what qctl prints."""
    for path, words in (("jobs", ["jobs"]), ("jobs/%s/checkpoints" % job, ["ckpt", "log", job])):
        ours, theirs = json.loads(get(fleet.http + "api/" + path, token)), fleet.json(*words)
        check(ours == theirs, "%s differs from qctl %s" % (path, " ".join(words)))
    for path, words in (("providers", ["workers", "providers"]), ("jobs/%s/explain" % job, ["explain", job])):
        check(json.loads(get(fleet.http + "api/" + path, token)) == fleet.json(*words), "%s differs" % path)
    texts = [e["text"] for e in json.loads(get(fleet.http + "api/jobs/%s/events" % job, token))["events"]]
    check(texts == [e["text"] for e in fleet.json_lines("logs", job)], "events differ from qctl logs")
    keys = set(json.loads(get(fleet.http + "api/jobs/" + job, token)))
    check(keys == set(fleet.json("show", job)), "a job's keys differ from those of qctl show")


def look(browser, folder, name):
    for width, height in WIDTHS:
        for scheme in ("light", "dark"):
            browser.resize(width, height, scheme)
            browser.wait("new Promise(done => setTimeout(() => done(true), 400))")
            wide = browser.evaluate("document.documentElement.scrollWidth")
            check(wide <= width, "%s: %d pixels wide on a screen of %d" % (name, wide, width))
            if folder:
                browser.screenshot(os.path.join(folder, "%s-%d-%s.png" % (name, width, scheme)))


def points_drawn(browser):
    return browser.evaluate("document.querySelector('#plot-loss polyline')?.getAttribute('points').split(' ').length || 0")


def enter(browser, fleet, token, pictures):
    browser.resize(1200, 900, "light")
    browser.open(fleet.http)
    check(browser.evaluate("!!document.querySelector('input[name=token]')"), "no form for the token")
    look(browser, pictures, "login")
    browser.complaints.clear()  # the 401 itself is one
    browser.open(fleet.http + "?token=" + token)
    check(browser.evaluate("location.href") == fleet.http, "the token stays in the address")
    check(browser.evaluate("document.cookie") == "", "a script can read the token")
    browser.wait("document.querySelector('#jobs .empty') !== null")
    look(browser, pictures, "empty")


def pause_early(fleet, job):
    """With few points, which a browser may take its time to draw."""
    end = time.monotonic() + DEADLINE_S
    while fleet.json("show", job)["point_count"] < 3:
        check(time.monotonic() < end, "the job does not train")
        time.sleep(0.05)
    fleet.qctl("pause", job)


def walk(browser, fleet, job, pictures):
    pause_early(fleet, job)
    browser.wait("document.querySelectorAll('.job').length > 0")
    browser.evaluate("location.hash = 'job/%s'" % job)
    browser.wait("document.querySelectorAll('#plot-loss polyline').length > 0")
    before = points_drawn(browser)
    point_at(browser, 0.5)
    fleet.qctl("resume", job)
    browser.wait("(document.querySelector('#plot-loss polyline')?.getAttribute('points').split(' ').length || 0) > %d" % before)
    print("loss of a running job: %d points, then %d without a touch" % (before, points_drawn(browser)))
    check(browser.evaluate(READING), "the reading under the pointer went when the plot was drawn anew")
    check(browser.evaluate("document.getElementById('link').textContent") == "live", "it does not say that it is live")
    browser.wait("document.querySelectorAll('#part-checkpoints tbody tr').length > 0")
    look(browser, pictures, "running")
    browser.evaluate("location.hash = 'workers'")
    browser.wait("document.querySelectorAll('#workers table[aria-label=Workers] tbody tr').length === 2")
    look(browser, pictures, "workers")


def finish(browser, fleet, job, pictures):
    """Done, with variants beside it, and after the coordinator is gone."""
    fleet.wait(job)
    browser.evaluate("location.hash = ''")
    browser.wait("[...document.querySelectorAll('.job .state')].some(s => s.textContent === 'ok')")
    look(browser, pictures, "jobs")
    browser.evaluate("location.hash = 'job/%s'" % job)
    browser.wait("document.querySelector('#part-files table') !== null")
    look(browser, pictures, "done")


def show_variants(browser, fleet, folder, keys, pictures):
    write_recipe(folder("many.yml"), dict(keys, max_steps=12, learning_rate=[1e-3, 2e-3, 4e-3], seed=[1, 2],
                                          name="<b>many</b> & \"rates\"", output_dir=folder("many")))
    job = fleet.submit(folder("many.yml"))
    fleet.wait(job)
    browser.evaluate("location.hash = 'job/%s'" % job)
    browser.wait("document.querySelectorAll('#part-variants tbody tr').length === 6")
    check(browser.evaluate("document.querySelector('h1').textContent").startswith("<b>many"), "a name became markup")
    check(browser.evaluate("[...document.querySelectorAll('#part-graph li')].some(l => l.textContent.includes('train ×6'))"),
          "the variants' stages are not folded")
    look(browser, pictures, "variants")
    return job


READING = "document.querySelector('#plot-loss .note:not(.hidden)')?.textContent"


def point_at(browser, place):
    browser.evaluate("(() => { const plot = document.querySelector('#plot-loss'), box = plot.getBoundingClientRect();"
                     "plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.left + box.width * %g})); })()" % place)


HOSTILE = """(() => {
  const bad = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>' + 'wide'.repeat(60) + '\\u202e\\0\\ud800';
  const kept = new Set(['job', 'digest', 'state', 'kind', 'reason', 'variants']);
  const spoil = (value, key) => Array.isArray(value) ? value.map((v) => spoil(v, key))
    : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, spoil(v, k)]))
    : typeof value === 'string' && !kept.has(key) ? bad : value;
  const fetch = window.fetch;
  window.fetch = async (...words) => {
    const answer = await fetch(...words);
    return new Response(JSON.stringify(spoil(await answer.json(), '')), { status: answer.status });
  };
})()"""


def spoil(browser, job, pictures):
    """Whatever the texts are that others gave, they are shown as texts, and the page stays as narrow as the screen."""
    browser.evaluate(HOSTILE)
    browser.wait("document.querySelector('h1').textContent.startsWith('<img')")
    browser.wait("document.querySelectorAll('#part-variants tbody tr').length === 6")
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    look(browser, pictures, "hostile")
    browser.resize(400, 800, "light")

    def is_narrow(what):
        wide = browser.evaluate("document.documentElement.scrollWidth")
        check(wide <= 400, "%s: %d pixels wide" % (what, wide))

    for place in (0.1, 0.5, 0.9):
        point_at(browser, place)
        browser.wait("%s?.includes('<img')" % READING)
        is_narrow("a reading at %g" % place)
    for view in ("", "workers", "job/%", "job/..%2f..%2fmetrics", "job/<img>", "job/" + job):
        browser.evaluate("location.hash = '%s'" % view)
        browser.wait("new Promise(done => setTimeout(() => done(true), 600))")
        is_narrow(view)
    check(browser.evaluate("window.owned === undefined && !document.querySelector('main img, main script')"), "a text became markup")
    browser.complaints[:] = [c for c in browser.complaints if "404" not in c]  # jobs that there are not


def main():
    pictures = sys.argv[1] if len(sys.argv) > 1 else None
    with Scratch("page") as folder:
        def qctl(*words):
            subprocess.run([os.path.join(BIN, "qctl"), *words], check=True)
        model = toy.make_model(qctl, folder.path)
        toy.write_rows(folder("train.jsonl"), 200, 1)
        toy.write_rows(folder("test.jsonl"), 16, 2)
        keys = toy.recipe(folder, model, max_steps=STEPS, save_steps=40, eval_steps=25, name="toy-lora")
        write_recipe(folder("recipe.yml"), keys)
        write_recipe(folder("done.yml"), dict(keys, max_steps=DONE_STEPS))
        write_recipe(folder("stuck.yml"), dict(keys, name="stuck", priority=-1, output_dir=folder("stuck")))
        with Fleet(folder("fleet")) as fleet, Browser(folder("browser")) as browser:
            fleet.start_coordinator("--http", "127.0.0.1:0")
            with open(os.path.join(fleet.data, "http.token"), encoding="ascii") as file:
                token = file.read().strip()
            check(os.stat(file.name).st_mode & 0o777 == 0o600, "others can read the token")
            check_doors(fleet, token)
            enter(browser, fleet, token, pictures)
            fleet.start_worker("a")
            fleet.start_worker("b")
            job = fleet.submit(folder("recipe.yml"))
            stuck = fleet.submit(folder("stuck.yml"))
            fleet.qctl("pause", stuck)
            walk(browser, fleet, job, pictures)
            fleet.qctl("cancel", job)
            browser.evaluate("location.hash = 'job/%s'" % stuck)
            print("why: " + browser.wait("document.querySelector('#part-why li')?.textContent"))
            look(browser, pictures, "paused")
            fleet.qctl("cancel", stuck)
            job = fleet.submit(folder("done.yml"))
            finish(browser, fleet, job, pictures)
            same_json(fleet, token, job)
            many = show_variants(browser, fleet, folder, keys, pictures)
            check(browser.complaints == [], "the console says: " + "; ".join(browser.complaints))
            spoil(browser, many, pictures)
            check(browser.complaints == [], "the console says: " + "; ".join(browser.complaints))
            print("no word on the console; %d answers" % browser.evaluate("performance.getEntriesByType('resource').length"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
