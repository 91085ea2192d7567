// page.js - the fleet as it is now: asks the coordinator again and again, shows what changed. Reads only; everything that came
// from others is put in as text, never as markup.
import { draw, number, svg } from "./chart.js";

const JOBS_MS = 2000, JOB_MS = 1000, CHECKPOINTS_MS = 4000, EVENTS_MS = 2000, EVENTS_MAX = 300, JOBS_MAX = 200, COLORS = 8, FOLD_OVER = 3, FILES_OPEN = 12;
const main = document.getElementById("main");
const state = { jobs: [], workers: [], providers: [], why: [], events: [], eventsNext: 0, job: null, id: null, points: [], checkpoints: [], view: "jobs", failed: 0,
  log: false, smooth: true, shown: new WeakMap() };

// ---- words and small parts

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const count = (n) => Number(n).toLocaleString("en").replace(/,/g, "\u202f");

function size(bytes) {
  const units = ["", "K", "M", "G", "T"];
  let n = Number(bytes), i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return (i > 0 && n < 10 ? n.toFixed(1) : String(Math.round(n))) + units[i];
}

function duration(s) {
  if (!Number.isFinite(s) || s < 0) return "–";
  if (s < 60) return (s < 10 ? s.toFixed(1) : Math.round(s)) + "s";
  const part = (big, small, a, b) => big + a + String(small).padStart(2, "0") + b;
  s = Math.round(s);
  if (s < 3600) return part(Math.floor(s / 60), s % 60, "m", "s");
  if (s < 86400) return part(Math.floor(s / 3600), Math.floor((s % 3600) / 60), "h", "m");
  return part(Math.floor(s / 86400), Math.floor((s % 86400) / 3600), "d", "h");
}

const ago = (ms) => (ms ? duration((Date.now() - ms) / 1000) + " ago" : "–");
const badge = (word) => el("span", { class: "state s-" + word }, word);
const isOver = (job) => ["ok", "FAIL", "cancel"].includes(job.state);
const color = (i) => `var(--c${i % COLORS})`;

function bar(done, total, word) {
  const fill = el("i");
  fill.style.width = total > 0 ? Math.min(100, (100 * done) / total) + "%" : word === "ok" ? "100%" : "0";
  return el("div", { class: "bar s-" + word, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": total || 1, "aria-valuenow": done }, fill);
}

// Replaces what is in `node` when what it is made from has changed.
function show(node, from, make) {
  const key = JSON.stringify(from);
  if (state.shown.get(node) === key) return;
  state.shown.set(node, key);
  node.replaceChildren(...[make()].flat());
}

async function ask(path) {
  const answer = await fetch("/api/" + path, { credentials: "same-origin" });
  if (answer.status === 401) return location.reload();
  if (!answer.ok) throw Object.assign(new Error((await answer.json()).detail), { status: answer.status });
  return answer.json();
}

// ---- the list of jobs

function jobCard(job) {
  const isBusy = !isOver(job);
  const progress = job.total > 0 ? `${count(job.done)}/${count(job.total)}` : "";
  return el("a", { class: "job" + (job.job === state.id ? " here" : ""), href: "#job/" + job.job, "aria-current": job.job === state.id ? "true" : null },
    el("div", { class: "row" }, el("span", { class: "name" }, job.name || job.job.slice(0, 7)), el("span", { class: "end" }, badge(job.state))),
    isBusy ? bar(job.done, job.total, job.state) : "",
    el("div", { class: "row small soft" }, el("span", { class: "mono" }, job.job.slice(0, 7)),
      el("span", {}, isBusy ? [job.stage, progress].filter(Boolean).join(" ") : ago(job.ended_unix_ms)),
      el("span", { class: "end" }, job.loss === null ? "" : "loss " + number(job.loss))),
    job.detail && job.state !== "ok" ? el("div", { class: "why" + (job.state === "FAIL" ? " bad" : "") }, job.detail) : "");
}

function showJobs() {
  const from = [state.jobs, state.id, state.jobs.some((j) => isOver(j)) ? Math.floor(Date.now() / 30000) : 0];
  show(document.getElementById("jobs"), from, () =>
    state.jobs.length > 0 ? state.jobs.map(jobCard)
      : el("div", { class: "card empty" }, "No jobs yet. ", el("code", {}, "qctl submit recipe.yml"), " gives the first."));
}

function showFleet() {
  const by = (list, key) => list.reduce((sum, row) => ({ ...sum, [row[key]]: (sum[row[key]] || 0) + 1 }), {});
  const jobs = by(state.jobs, "state"), workers = by(state.workers, "state");
  const busy = state.workers.filter((w) => w.task !== "").length;
  const text = [`${jobs.run || 0} running`, jobs.wait ? `${jobs.wait} waiting` : "", jobs.FAIL ? `${jobs.FAIL} failed` : "",
    `${workers.ready || 0} workers` + (busy ? `, ${busy} busy` : ""), workers.lost ? `${workers.lost} lost` : ""].filter(Boolean).join(" · ");
  document.getElementById("fleet").textContent = text;
}

// ---- workers

// Columns that are empty everywhere vanish, as in qctl's tables.
function table(all, rows, label) {
  const columns = all.filter(([, value]) => rows.some((row) => value(row) !== "" && value(row) !== null && value(row) !== undefined));
  return el("div", { class: "scroll" }, el("table", { class: "cards", "aria-label": label },
    el("thead", {}, el("tr", {}, ...columns.map(([title, , kind]) => el("th", { class: kind || "", scope: "col" }, title)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...columns.map(([title, value, kind]) => el("td", { class: kind || "", "data-label": title }, value(row))))))));
}

function showWorkers() {
  const columns = [["worker", (w) => w.name], ["state", (w) => badge(w.state)], ["task", (w) => w.task],
    ["threads", (w) => String(w.threads), "num"], ["memory", (w) => size(w.rss_bytes) + " of " + size(w.memory_bytes), "num"],
    ["done", (w) => count(w.tasks_done), "num"], ["kernel", (w) => w.isa], ["profiles", (w) => w.profiles],
    ["place", (w) => [w.provider, w.allocation].filter(Boolean).join(" ")], ["heard", (w) => duration(w.heartbeat_age) + " ago", "num"],
    ["why", (w) => w.detail, "wide"]];
  show(document.getElementById("workers"), [state.workers, state.providers], () => [el("div", { class: "card" }, el("h2", {}, plural(state.workers.length, "worker")),
    state.workers.length > 0 ? table(columns, state.workers, "Workers")
      : el("p", { class: "soft" }, "None. ", el("code", {}, "qctl workers scale N"), " or ", el("code", {}, "qfleet-worker --coordinator ..."), " brings some.")),
  providersCard(state.providers)]);
}

function providersCard(rows) {
  const columns = [["provider", (p) => p.name], ["kind", (p) => p.kind], ["state", (p) => p.state],
    ["target", (p) => (p.is_auto ? "auto, now " : "") + p.target, "num"], ["bounds", (p) => `${p.min} to ${p.max}`, "num"], ["running", (p) => String(p.running), "num"],
    ["waiting", (p) => String(p.waiting), "num"], ["leaving", (p) => String(p.leaving), "num"], ["why", (p) => p.detail, "wide"]];
  return rows.length === 0 ? "" : el("div", { class: "card" }, el("h2", {}, plural(rows.length, "provider")), table(columns, rows, "Providers"));
}

// ---- one job

function speed() {
  const last = state.points.filter((p) => !p.is_eval && p.unix_ms > 0).slice(-12);
  if (last.length < 2) return {};
  const [a, b] = [last[0], last[last.length - 1]];
  const seconds = (b.unix_ms - a.unix_ms) / 1000;
  return seconds > 0 ? { tokens: (b.tokens - a.tokens) / seconds, step: seconds / (b.step - a.step) } : {};
}

function jobHead(row) {
  const { tokens, step } = speed();
  const isRunning = row.state === "run";
  const left = isRunning && row.stage.startsWith("train") && step && row.variants.length < 2 ? (row.total - row.done) * step : NaN;
  const end = isOver(row) ? row.ended_unix_ms : Date.now();
  const facts = [["stage", row.stage || "–"], ["done", row.total > 0 ? `${count(row.done)} of ${count(row.total)}` : "–"], ["loss", number(row.loss)],
    ["held-out loss", number(row.eval_loss)], ["tokens/s", isRunning && tokens ? count(Math.round(tokens)) : null],
    ["time left", Number.isFinite(left) ? duration(left) : null], ["time", row.started_unix_ms ? duration((end - row.started_unix_ms) / 1000) : "–"],
    ["submitted", new Date(row.created_unix_ms).toLocaleString([], { dateStyle: "short", timeStyle: "short" })], ["owner", row.owner || null], ["priority", row.priority ? String(row.priority) : null]];
  return el("div", { class: "card" }, el("a", { class: "back", href: "#" }, "← all jobs"),
    el("div", { class: "row" }, el("h1", {}, row.name), badge(row.state), el("span", { class: "end soft mono", title: row.job }, row.job.slice(0, 7))),
    isOver(row) ? "" : bar(row.done, row.total, row.state),
    row.detail && row.state !== "ok" ? el("p", { class: "why" + (row.state === "FAIL" ? " bad" : "") }, (row.error ? row.error + ": " : "") + row.detail) : "",
    el("dl", { class: "facts" }, ...facts.filter(([, v]) => v !== null).map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v)))));
}

function curves(value, wanted) {
  const variants = state.job.row.variants;
  const by = new Map();
  for (const p of state.points) {
    if (!wanted(p)) continue;
    if (!by.has(p.variant)) by.set(p.variant, []);
    by.get(p.variant).push([p.step, value(p)]);
  }
  return [...by].sort((a, b) => a[0] - b[0]).map(([v, points]) => ({ name: variants.length > 1 ? variants[v].name : "", color: color(v), points }));
}

function lossSeries() {
  const train = curves((p) => p.loss, (p) => !p.is_eval).map((s) => ({ ...s, name: s.name || "loss" }));
  const held = curves((p) => p.loss, (p) => p.is_eval).map((s) => ({ ...s, name: (s.name + " held-out").trim(), dots: true, color: train.length > 1 ? s.color : color(1) }));
  return [...train, ...held];
}

function legendKey(series) {
  const mark = el("i", { class: series.dots ? "dot" : "" });
  mark.style.background = series.color;
  return el("span", {}, mark, series.name);
}

function drawPlots() {
  const plot = (id) => document.getElementById(id);
  if (!plot("plot-loss")) return;
  const loss = lossSeries();
  const stage = state.job.stages.find((s) => s.kind === "train");
  const common = { log: state.log, smooth: state.smooth, total: stage && stage.total };
  plot("plot-rate").closest(".twin").classList.toggle("hidden", loss.length === 0);
  draw(plot("plot-loss"), loss, { ...common, height: 260, title: "loss over steps", empty: "no step yet" });
  draw(plot("plot-rate"), curves((p) => p.learning_rate, (p) => !p.is_eval).map((s) => ({ ...s, name: s.name || "rate" })),
    { height: 130, total: common.total, title: "learning rate over steps" });
  draw(plot("plot-norm"), curves((p) => p.grad_norm, (p) => !p.is_eval).map((s) => ({ ...s, name: s.name || "norm" })),
    { height: 130, total: common.total, log: state.log, smooth: state.smooth, title: "gradient norm over steps" });
  const held = loss.filter((s) => s.dots), isGroup = loss.length - held.length > 1;
  const keys = isGroup ? loss.filter((s) => !s.dots) : loss;
  document.getElementById("legend").replaceChildren(...(loss.length > 1 ? keys.slice(0, 24) : []).map(legendKey),
    isGroup && held.length > 0 ? el("span", { class: "soft" }, "dots: held-out") : "");
}

function plotsCard() {
  const box = (name, label) => el("label", {}, el("input", { type: "checkbox", id: "opt-" + name, onchange: (event) => {
    state[name] = event.target.checked;
    drawPlots();
  } }), label);
  const card = el("div", { class: "card" }, el("div", { class: "tools" }, el("h2", {}, "Loss"), box("smooth", "smooth"), box("log", "log scale")),
    el("div", { class: "plot", id: "plot-loss" }), el("div", { class: "legend", id: "legend" }),
    el("div", { class: "twin" }, el("div", {}, el("p", { class: "plot-title" }, "learning rate"), el("div", { class: "plot", id: "plot-rate" })),
      el("div", {}, el("p", { class: "plot-title" }, "gradient norm"), el("div", { class: "plot", id: "plot-norm" }))));
  for (const name of ["smooth", "log"]) card.querySelector("#opt-" + name).checked = state[name];
  return card;
}

// Stages of one kind that need the same kinds become one row when there are many: the variants of a job.
function foldStages(stages) {
  const groups = new Map();
  for (const s of stages) {
    const key = s.kind + "<" + [...new Set(s.after.map((r) => stages[r.stage].kind))].join();
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(s);
  }
  const rows = [], place = new Map();
  for (const group of groups.values())
    for (const part of group.length > FOLD_OVER ? [group] : group.map((s) => [s])) rows.push(part);
  rows.sort((a, b) => a[0].index - b[0].index);
  rows.forEach((part, i) => part.forEach((s) => place.set(s.index, i)));
  return rows.map((part, i) => {
    const sum = (key) => part.reduce((n, s) => n + s[key], 0);
    const word = ["FAIL", "run", "wait", "cancel", "ok"].find((w) => part.some((s) => s.state === w)) || "wait";
    const needs = [...new Set(part.flatMap((s) => s.after.map((r) => place.get(r.stage))))].filter((p) => p !== i).sort((a, b) => a - b);
    const one = part.length === 1 ? part[0] : null;
    return { name: one ? one.name : `${part[0].kind} ×${part.length}`, state: word, done: sum("done"), total: sum("total"), seconds: Math.max(...part.map((s) => s.seconds)),
      detail: one ? one.detail || (one.reused ? `${count(one.reused)} from ${one.reused_from}` : one.where) : countStates(part), needs };
  });
}

function countStates(part) {
  const counts = {};
  for (const s of part) counts[s.state] = (counts[s.state] || 0) + 1;
  return Object.entries(counts).map(([word, n]) => `${n} ${word}`).join(", ");
}

// A stage stands under what it needs; a column is kept until the last that needs it.
function lanes(rows) {
  const last = rows.map((_, i) => Math.max(i, ...rows.map((r, j) => (r.needs.includes(i) ? j : i))));
  const columns = [], held = [];
  rows.forEach((row, i) => {
    let c = held.findIndex((until) => until === undefined || until <= i);
    if (c < 0) c = held.length;
    held[c] = last[i];
    columns.push(c);
  });
  return columns;
}

function graphLanes(rows) {
  const high = 28, wide = 16, columns = lanes(rows);
  const X = (c) => 9 + c * wide, Y = (i) => i * high + high / 2;
  const root = svg("svg", { width: X(Math.max(...columns)) + 12, height: rows.length * high, "aria-hidden": "true" });
  rows.forEach((row, i) => {
    for (const n of row.needs) {
      const [x0, x1] = [X(columns[n]), X(columns[i])];
      root.append(svg("path", { d: `M${x0} ${Y(n)}V${Y(i) - (x0 === x1 ? 0 : 16)}` + (x0 === x1 ? "" : `C${x0} ${Y(i) - 4} ${x1} ${Y(i) - 14} ${x1} ${Y(i)}`),
        fill: "none", stroke: "var(--soft)", "stroke-width": 1.3 }));
    }
  });
  const fill = { ok: "var(--good)", run: "var(--busy)", FAIL: "var(--bad)", wait: "var(--card)", cancel: "var(--soft)" };
  rows.forEach((row, i) => root.append(svg("circle", { cx: X(columns[i]), cy: Y(i), r: 5, fill: fill[row.state], stroke: row.state === "wait" ? "var(--wait)" : "var(--card)", "stroke-width": 1.6 })));
  return root;
}

function whyCard(rows, job) {
  return el("div", { class: "card" }, el("h2", {}, job.state === "run" ? "What holds it back" : "Why it waits"), el("ul", { class: "plain" }, ...rows.slice(0, 12).map((row) => el("li", {},
    el("span", { class: "state s-wait" }, row.reason), " ", row.stage ? el("b", {}, row.stage + ": ") : "", row.detail, row.advice ? el("div", { class: "soft" }, row.advice) : ""))));
}

function eventsCard(rows) {
  return el("div", { class: "card" }, el("details", {}, el("summary", {}, "What happened"), el("ol", { class: "plain events" },
    ...rows.slice().reverse().map((e) => el("li", {}, el("time", { class: "soft mono" }, new Date(e.unix_ms).toLocaleTimeString()), " ", e.text)))));
}

// What was open stays open when a card is made anew.
function keepOpen(node, make) {
  const isOpen = node.querySelector("details")?.open;
  const card = make();
  if (isOpen !== undefined) card.querySelector("details").open = isOpen;
  return card;
}

function graphCard(stages) {
  const rows = foldStages(stages);
  const item = (row) => el("li", {}, el("span", { title: row.name }, row.name), el("span", {}, badge(row.state)),
    el("span", { class: "soft small" }, row.total > 0 ? `${count(row.done)}/${count(row.total)}` : ""),
    el("span", { class: "soft small" }, row.seconds > 0 ? duration(row.seconds) : ""),
    el("span", { class: "soft small", title: row.detail }, row.detail));
  return el("div", { class: "card" }, el("h2", {}, "Graph, " + plural(stages.length, "stage")), el("div", { class: "stages" }, graphLanes(rows), el("ol", {}, ...rows.map(item))));
}

function variantsCard(variants) {
  const columns = [["variant", (v) => (v.is_best ? "★ " : "") + v.name, "wide"], ["state", (v) => badge(v.state)], ["stage", (v) => v.stage],
    ["done", (v) => (v.total > 0 ? `${count(v.done)}/${count(v.total)}` : ""), "num"], ["loss", (v) => number(v.loss), "num"],
    ["held-out", (v) => number(v.eval_loss), "num"], ["why", (v) => v.detail, "wide"]];
  return el("div", { class: "card" }, el("h2", {}, `${variants.length} variants`), table(columns, variants, "Variants"));
}

function checkpointsCard(rows, job) {
  const name = (c) => (job.stages.filter((s) => s.kind === "train").length > 1 ? ((job.stages[c.stage] || {}).name || "").replace(/^train /, "") + ", " : "") + "step " + count(c.step);
  const columns = [["at", name, "wide"], ["id", (c) => el("span", { class: "mono", title: c.digest }, c.digest.slice(0, 10))], ["epoch", (c) => number(c.epoch), "num"],
    ["loss", (c) => number(c.loss), "num"], ["held-out", (c) => number(c.eval_loss), "num"], ["tokens", (c) => count(c.tokens), "num"],
    ["size", (c) => size(c.size_bytes), "num"], ["made", (c) => new Date(c.created_unix_ms).toLocaleTimeString(), "num"]];
  return el("div", { class: "card" }, el("h2", {}, plural(rows.length, "checkpoint")),
    rows.length > 0 ? table(columns, rows.slice(0, 100), "Checkpoints") : el("p", { class: "soft" }, "None yet."));
}

function filesCard(job) {
  const parts = [];
  if (job.outputs.length > 0)
    parts.push(el("div", { class: "card" }, el("details", job.outputs.length <= FILES_OPEN ? { open: "" } : {}, el("summary", {}, plural(job.outputs.length, "file") + " of the result"),
      table([["file", (f) => f.name, "wide"], ["size", (f) => size(f.size_bytes), "num"], ["id", (f) => el("span", { class: "mono", title: f.digest }, f.digest.slice(0, 10)), "num"]],
        job.outputs.slice(0, 400), "Files"))));
  parts.push(el("div", { class: "card" }, el("details", {}, el("summary", {}, "Recipe, as it was frozen"), el("pre", {}, job.recipe))));
  return parts;
}

function showJob() {
  const node = document.getElementById("detail");
  if (state.id === null || state.job === null) {
    show(node, ["none", state.id, state.jobs.length > 0], () => el("div", { class: "card empty" }, state.id === null ? "Choose a job." : "…"));
    return;
  }
  const { row, stages, outputs, recipe } = state.job;
  if (node.dataset.job !== state.id) {
    node.dataset.job = state.id;
    state.shown.delete(node);
    node.replaceChildren(...["head", "why", "plots", "graph", "variants", "checkpoints", "events", "files"].map((name) => el("div", { id: "part-" + name })));
  }
  const part = (name) => document.getElementById("part-" + name);
  const hasTraining = stages.some((s) => s.kind === "train");
  show(part("head"), [row, isOver(row) ? 0 : Math.floor(Date.now() / 1000)], () => jobHead(row));
  show(part("why"), [row.state, state.why], () => (isOver(row) || state.why.length === 0 ? [] : whyCard(state.why, row)));
  show(part("plots"), [hasTraining], () => (hasTraining ? plotsCard() : []));
  if (hasTraining && part("plots").dataset.points !== String(state.points.length)) {
    part("plots").dataset.points = String(state.points.length);
    drawPlots();
  }
  show(part("graph"), stages, () => graphCard(stages));
  show(part("variants"), row.variants, () => (row.variants.length > 1 ? variantsCard(row.variants) : []));
  show(part("checkpoints"), [hasTraining, state.checkpoints], () => (hasTraining ? checkpointsCard(state.checkpoints, state.job) : []));
  show(part("events"), state.events, () => keepOpen(part("events"), () => eventsCard(state.events)));
  show(part("files"), [outputs, recipe], () => filesCard(state.job));
}

// ---- asking again and again

// Each looks at the job that was chosen when it began, and leaves when another one is by the time an answer comes.
async function readJob(id) {
  let job;
  do {
    job = await ask(`jobs/${encodeURIComponent(id)}?after=${state.points.length}`);
    if (!job || state.id !== id) return;
    if (job.point_count < state.points.length) state.points = []; // it went back to a checkpoint
    else state.points.push(...job.points);
  } while (state.points.length < job.point_count);
  state.job = job;
  showJob();
}

async function readAll(now, due) {
  if (due("jobs", JOBS_MS)) {
    [state.jobs, state.workers, state.providers] = await Promise.all([ask("jobs?limit=" + JOBS_MAX), ask("workers"), ask("providers")]);
    showJobs();
    showFleet();
    showWorkers();
  }
  const id = state.id;
  if (id === null) return showJob();
  if (due("job", state.job && isOver(state.job.row) ? JOBS_MS : JOB_MS)) await readJob(id);
  if (state.id === id && due("checkpoints", CHECKPOINTS_MS)) {
    const [rows, why] = await Promise.all([ask(`jobs/${encodeURIComponent(id)}/checkpoints`), state.job && isOver(state.job.row) ? [] : ask(`jobs/${encodeURIComponent(id)}/explain`)]);
    if (state.id !== id) return;
    state.checkpoints = rows;
    state.why = why.filter((row) => !["working", "needs"].includes(row.reason)); // the graph says these
    showJob();
  }
  if (state.id === id && due("events", EVENTS_MS)) await readEvents(id);
}

// The log is looked through a part at a time; a long one takes some turns.
async function readEvents(id) {
  const answer = await ask(`jobs/${encodeURIComponent(id)}/events?after=${state.eventsNext}`);
  if (!answer || state.id !== id) return;
  if (answer.last < state.eventsNext) Object.assign(state, { events: [], eventsNext: 0 });
  else Object.assign(state, { events: [...state.events, ...answer.events].slice(-EVENTS_MAX), eventsNext: answer.next });
  showJob();
}

const asked = {};
let isAsking = false;

async function turn() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  const link = document.getElementById("link");
  try {
    const now = Date.now();
    await readAll(now, (what, every) => (asked[what] && now - asked[what] < every - 50 ? false : ((asked[what] = now), true)));
    state.failed = 0;
    link.textContent = "live";
    link.className = "";
  } catch (error) {
    if (error.status === 404 && state.id !== null) location.hash = "";
    else if (++state.failed > 1) {
      link.textContent = error.status ? error.message : "no answer";
      link.className = "lost";
    }
  }
  isAsking = false;
}

// Ids are of digits and letters: what is none is asked for as it stands, and not found.
function go() {
  const [view, id] = location.hash.slice(1).split("/");
  state.view = view === "workers" ? "workers" : "jobs";
  const next = view === "job" && id ? id : null;
  if (next !== state.id) {
    Object.assign(state, { id: next, job: null, points: [], checkpoints: [], why: [], events: [], eventsNext: 0 });
    document.getElementById("detail").dataset.job = "";
    delete asked.job;
    delete asked.checkpoints;
    delete asked.events;
  }
  main.classList.toggle("one", state.id !== null);
  main.classList.toggle("workers", state.view === "workers");
  for (const name of ["jobs", "detail"]) document.getElementById(name).classList.toggle("hidden", state.view === "workers");
  document.getElementById("workers").classList.toggle("hidden", state.view !== "workers");
  for (const a of document.querySelectorAll("nav a")) a.classList.toggle("here", a.dataset.view === state.view);
  showJobs();
  showJob();
  turn();
}

addEventListener("hashchange", go);
addEventListener("visibilitychange", turn);
new ResizeObserver(() => state.job && drawPlots()).observe(main);
setInterval(turn, 500);
go();
