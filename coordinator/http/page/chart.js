// chart.js - lines over steps as SVG: axes with round numbers, many points drawn as few, a reading where the pointer is.

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.0001 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

// Round numbers between low and high, about `count` of them.
function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw) || raw;
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step);
  return out;
}

function powers(low, high) {
  const out = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const n of [1, 2, 5]) {
      const value = n * 10 ** e;
      if (value >= low * 0.999 && value <= high * 1.001) out.push(value);
    }
  return out.length > 8 ? out.filter((v) => Math.abs(Math.log10(v) % 1) < 1e-9) : out;
}

// At most two points for a column of pixels: the lowest and the highest, in their order.
function thin(points, columns) {
  if (points.length <= 2 * columns) return points;
  const out = [];
  const width = points.length / columns;
  for (let i = 0; i < columns; i++) {
    const part = points.slice(Math.floor(i * width), Math.floor((i + 1) * width));
    let low = part[0], high = part[0];
    for (const p of part) {
      if (p[1] < low[1]) low = p;
      if (p[1] > high[1]) high = p;
    }
    out.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return out;
}

// The mean of as many points on either side, so that nothing is shifted; the longer the run, the more of them.
function smooth(points) {
  const most = Math.min(40, Math.floor(points.length / 24));
  const sums = [0];
  for (const [, y] of points) sums.push(sums[sums.length - 1] + y);
  return points.map(([x], i) => {
    const reach = Math.min(most, i, points.length - 1 - i);
    return [x, (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)];
  });
}

function scales(series, options, width, height) {
  const all = series.flatMap((s) => s.points).filter((p) => Number.isFinite(p[1]) && (!options.log || p[1] > 0));
  if (all.length === 0) return null;
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of all) {
    x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
  }
  if (options.total) x1 = Math.max(x1, options.total);
  if (x0 === x1) x1 = x0 + 1;
  if (y0 === y1) { const pad = Math.abs(y0) * 0.05 || 1; y0 -= options.log ? y0 / 2 : pad; y1 += pad; }
  if (!options.log) { const pad = (y1 - y0) * 0.06; y1 += pad; y0 = y0 >= 0 && y0 < pad ? 0 : y0 - pad; }
  const plot = { left: 52, top: 8, right: width - 8, bottom: height - 22 };
  const place = options.log ? Math.log : (v) => v;
  const X = (x) => plot.left + ((x - x0) / (x1 - x0)) * (plot.right - plot.left);
  const Y = (y) => plot.bottom - ((place(y) - place(y0)) / (place(y1) - place(y0))) * (plot.bottom - plot.top);
  return { plot, X, Y, x0, x1, y0, y1 };
}

function axes(root, scale, options, width) {
  const { plot, X, Y, x0, x1, y0, y1 } = scale;
  const label = { fill: "var(--soft)", "font-size": 11, "font-family": "inherit" };
  for (const y of options.log ? powers(y0, y1) : ticks(y0, y1, 5)) {
    root.append(svg("line", { x1: plot.left, x2: plot.right, y1: Y(y), y2: Y(y), stroke: "var(--grid)" }));
    root.append(svg("text", { ...label, x: plot.left - 6, y: Y(y) + 4, "text-anchor": "end" }, number(y)));
  }
  for (const x of ticks(x0, x1, Math.max(2, Math.floor(width / 75)))) {
    if (!Number.isInteger(x)) continue;
    const anchor = X(x) > plot.right - 16 ? "end" : "middle";
    root.append(svg("text", { ...label, x: X(x), y: plot.bottom + 16, "text-anchor": anchor }, x.toLocaleString("en").replace(/,/g, "\u202f")));
  }
  root.append(svg("line", { x1: plot.left, x2: plot.right, y1: plot.bottom, y2: plot.bottom, stroke: "var(--line)" }));
}

function line(root, points, scale, color, attributes) {
  const { X, Y, plot } = scale;
  const text = thin(points, Math.max(50, Math.floor(plot.right - plot.left))).map(([x, y]) => X(x).toFixed(1) + "," + Y(y).toFixed(1)).join(" ");
  root.append(svg("polyline", { points: text, fill: "none", stroke: color, "stroke-width": 1.6, "stroke-linejoin": "round", ...attributes }));
}

// Where the pointer is over a plot: a reading stays when the plot is drawn anew under it, as each point of a running job does.
const pointers = new WeakMap();

// What each series says at the step nearest to the pointer.
function reading(node, root, series, scale) {
  const note = document.createElement("div");
  note.className = "note hidden";
  const mark = svg("line", { y1: scale.plot.top, y2: scale.plot.bottom, stroke: "var(--soft)", "stroke-dasharray": "2 3", visibility: "hidden" });
  root.append(mark);
  const hide = () => { note.classList.add("hidden"); mark.setAttribute("visibility", "hidden"); };
  const show = () => {
    const box = root.getBoundingClientRect();
    const x = pointers.get(node) - box.left;
    const lines = [];
    let step = null;
    for (const s of series) {
      let best = null;
      for (const p of s.points) if (best === null || Math.abs(scale.X(p[0]) - x) < Math.abs(scale.X(best[0]) - x)) best = p;
      if (best === null) continue;
      if (step === null || Math.abs(scale.X(best[0]) - x) < Math.abs(scale.X(step) - x)) step = best[0];
      lines.push([s, best]);
    }
    if (step === null) return hide();
    note.replaceChildren();
    const head = document.createElement("div");
    head.textContent = "step " + step;
    note.append(head);
    for (const [s, p] of lines.filter(([, p]) => p[0] === step || lines.length === 1).slice(0, 10)) {
      const row = document.createElement("div");
      row.textContent = s.name + " " + number(p[1]);
      row.style.color = s.color;
      note.append(row);
    }
    note.classList.remove("hidden");
    const at = scale.X(step);
    mark.setAttribute("x1", at); mark.setAttribute("x2", at); mark.setAttribute("visibility", "visible");
    if (at > box.width / 2) { note.style.right = box.width - at + 8 + "px"; note.style.left = ""; }
    else { note.style.left = at + 8 + "px"; note.style.right = ""; }
  };
  node.onpointermove = (event) => { pointers.set(node, event.clientX); show(); };
  node.onpointerleave = () => { pointers.delete(node); hide(); };
  node.append(note);
  if (pointers.has(node)) show();
}

// series: [{name, color, points: [[step, value]], dots}]; options: {height, log, smooth, total, title}.
export function draw(node, series, options) {
  const width = Math.max(200, node.clientWidth), height = options.height;
  const clean = series.map((s) => ({ ...s, points: s.points.filter((p) => Number.isFinite(p[1]) && (!options.log || p[1] > 0)) }));
  const scale = scales(clean, options, width, height);
  node.replaceChildren();
  if (scale === null) {
    const empty = document.createElement("p");
    empty.className = "soft small";
    empty.textContent = options.empty || "nothing measured yet";
    node.append(empty);
    return;
  }
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": options.title });
  axes(root, scale, options, width);
  for (const s of clean) {
    const soft = options.smooth && !s.dots && s.points.length > 24;
    if (soft) line(root, s.points, scale, s.color, { opacity: 0.25 });
    line(root, soft ? smooth(s.points) : s.points, scale, s.color, s.dots ? { "stroke-dasharray": "4 3", opacity: 0.8 } : {});
    if (s.dots || s.points.length === 1)
      for (const [x, y] of s.points.slice(-200)) root.append(svg("circle", { cx: scale.X(x), cy: scale.Y(y), r: 3.2, fill: s.color }));
  }
  node.append(root);
  reading(node, root, clean, scale);
}
