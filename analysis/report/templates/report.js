"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const PALETTE = ["#0b5c8e", "#c4571b", "#3c7d3a", "#8a4f9e", "#a8842c", "#3a9aa6", "#b5446e", "#5b6570", "#7d5a3c", "#4d5fc1"];
const FONT = { family: '"Helvetica Neue", Helvetica, "Segoe UI", Arial, "Liberation Sans", sans-serif', size: 12, color: "#1d2226" };

// An element with attributes and children; text is never read as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function show(image, key, widest) {
  const picture = data.pictures[key];
  image.width = widest ? Math.min(widest, 3 * picture.width) : picture.width;
  image.height = Math.round((image.width * picture.height) / picture.width);
  image.src = picture.uri;
}

const number = (value) => (value === null ? "–" : String(Number.isInteger(value) ? value : Number(value.toPrecision(3))).replace("-", "−"));

const shown = (value) => (typeof value === "string" ? value : number(value));

for (const image of document.querySelectorAll("img[data-picture]")) show(image, image.dataset.picture);

// ---- variants: one selector for all that is shown cell by cell

function selectVariant(chosen) {
  for (const part of document.querySelectorAll("[data-variant]")) part.hidden = part.dataset.variant !== chosen;
}
function showVariant(variant) {
  if (!at("variant")) return;
  at("variant").value = variant;
  selectVariant(String(variant));
}
if (at("variant")) {
  at("variant").addEventListener("change", (event) => selectVariant(event.target.value));
  selectVariant(at("variant").value);
}

// ---- the evidence behind a verdict

const SENTENCES = {
  density: "Fresh random values in this place, all else held: is each result a proper picture?",
  smoothness: "Walks from one picture’s value, left, to another’s, right, in equal steps.",
  organization: "Pictures and their nearest neighbours in this space.",
  relevance: "Triples: the original O, the other picture E, and C, which is O with E’s value put in.",
};
const VERDICTS = {
  V: `Present: the whole range lies above ${data.thresholds.present}.`,
  "~": "Undecided: the property is there in part, or the range is too wide to say.",
  X: `Absent: the whole range lies below ${data.thresholds.absent}, or chance alone would often give as much.`,
  "n/a": "Not applicable.",
};
const COLUMN_NAMES = { p_value: "p", p_adjusted: "p, corrected for all verdicts", p_max: "p, best of all places" };

function asObject(row) {
  const fields = Object.fromEntries(data.evidence.map((name, i) => [name, row[i]]));
  fields.range = fields.ci_low === null ? "–" : `${number(fields.ci_low)} to ${number(fields.ci_high)}`;
  return fields;
}

function openPanel(panel) {
  const rows = panel.rows.map(asObject);
  const headline = rows.find((row) => row.headline);
  const letter = { V: "v", "~": "t", X: "x" }[panel.verdict] ?? "na";
  at("panel-title").replaceChildren(`${panel.cell} · `, make("code", {}, panel.candidate), ` · ${panel.property}`);
  const status = ["ok", "n/a"].includes(headline.status) ? [] : [" ", make("em", {}, `(${headline.status})`)];
  const body = [make("p", {}, make("b", { class: `chip ${letter}` }, panel.verdict), ` ${VERDICTS[panel.verdict] ?? ""}`, ...status)];
  if (headline.reason) body.push(make("p", { class: "reason" }, headline.reason));
  if (panel.picture) {
    const image = make("img", { alt: SENTENCES[panel.property] });
    show(image, panel.picture, 640);
    body.push(make("figure", {}, image, make("figcaption", {}, SENTENCES[panel.property])));
  } else {
    body.push(make("p", { class: "missing" }, "There is no example picture."));
  }
  const facts = make("dl", { class: "facts" });
  for (const name of ["score", "range", "value", "null", "ceiling", "p_value", "p_adjusted", "p_max", "n", "estimator", "protocol", "view"]) {
    const value = headline[name];
    if (value === "" || value === null) continue;
    facts.append(make("div", {}, make("dt", {}, COLUMN_NAMES[name] ?? name), make("dd", {}, shown(value))));
  }
  facts.append(make("div", {}, make("dt", {}, "kind of candidate"), make("dd", {}, panel.kind)));
  body.push(facts);
  const others = rows.filter((row) => !row.headline);
  if (others.length) {
    const names = ["estimator", "target", "protocol", "value", "null", "ceiling", "score", "range", "n", "status", "reason"].filter((name) =>
      others.some((row) => ![null, "", "–", "ok"].includes(row[name])),
    );
    const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
    const lines = others.map((row) => make("tr", {}, ...names.map((name) => make("td", {}, shown(row[name])))));
    body.push(make("h3", {}, "Other estimators of the same property"));
    body.push(make("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "Other estimators" }, make("table", { class: "plain" }, make("thead", {}, head), make("tbody", {}, ...lines))));
  }
  at("panel-body").replaceChildren(...body);
  at("panel").showModal();
  at("panel").scrollTop = 0;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-panel]");
  if (button) openPanel(data.panels[button.dataset.panel]);
  // The backdrop belongs to the dialog: a click outside its content is a click on itself.
  if (event.target === at("panel")) at("panel").close();
});

// ---- scores against bottleneck

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star"];
const GLYPHS = ["●", "■", "◆", "▲", "✚", "✖", "▼", "★"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

// The place of each chosen candidate among those of its paradigm decides its symbol, which its box shows too.
function choosePlaces(paradigms) {
  const places = new Map();
  for (const paradigm of paradigms) {
    const boxes = [...document.querySelectorAll("#sweep-lines input")].filter((box) => box.dataset.paradigm === paradigm);
    boxes.filter((box) => box.checked).forEach((box, place) => places.set(box.value, place));
    for (const box of boxes) box.nextElementSibling.textContent = box.checked ? GLYPHS[places.get(box.value) % GLYPHS.length] : "";
  }
  return places;
}

function drawSweep(names, paradigms) {
  const places = choosePlaces(paradigms);
  for (const name of names) {
    const lines = data.sweep.filter((line) => places.has(`${line.paradigm}/${line.candidate}`) && line.properties[name]);
    const sizes = [...new Set(data.sweep.flatMap((line) => line.properties[name]?.x ?? []))].sort((a, b) => a - b);
    const traces = lines.map((line, i) => {
      const own = line.properties[name];
      const color = PALETTE[paradigms.indexOf(line.paradigm) % PALETTE.length];
      const place = places.get(`${line.paradigm}/${line.candidate}`);
      return {
        name: [line.paradigm, line.candidate, line.note].filter(Boolean).join(" "),
        mode: "lines+markers",
        // A little to the side of one another, so that bars at one size can be told apart.
        x: own.x.map((x) => x * 1.035 ** (i - (lines.length - 1) / 2)),
        y: own.y,
        customdata: own.x.map((x, j) => [x, own.verdict[j], own.low[j], own.high[j], own.variant[j]]),
        hovertemplate: "bottleneck %{customdata[0]}<br>%{customdata[1]} %{y:.2f} (%{customdata[2]:.2f}–%{customdata[3]:.2f})<extra>%{fullData.name}</extra>",
        error_y: { type: "data", symmetric: false, array: own.y.map((y, j) => own.high[j] - y), arrayminus: own.y.map((y, j) => y - own.low[j]), thickness: 1.2, width: 3 },
        line: { color, width: 1.8, dash: DASHES[place % DASHES.length] },
        marker: { color, size: 8, symbol: SYMBOLS[place % SYMBOLS.length] },
      };
    });
    const mark = (y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: "#8b949c", width: 1, dash: "dot" } });
    Plotly.react(`sweep-${name}`, traces, {
      title: { text: name, font: { ...FONT, size: 14 }, x: 0.01, xanchor: "left" },
      font: FONT,
      margin: { l: 40, r: 10, t: 36, b: 42 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "#fff",
      showlegend: false,
      xaxis: { type: "log", tickvals: sizes, ticktext: sizes.map(String), title: { text: "bottleneck", standoff: 6 }, gridcolor: "#eceeef", zeroline: false },
      yaxis: { range: [-0.04, 1.04], gridcolor: "#eceeef", zeroline: false, dtick: 0.2 },
      shapes: [mark(data.thresholds.absent), mark(data.thresholds.present)],
    }, { responsive: true, displayModeBar: false });
  }
}

// A mark leads to the verdicts of its training.
function showTraining(event) {
  showVariant(event.points[0].customdata[4]);
  at("verdicts").scrollIntoView();
}
for (const mark of document.querySelectorAll(".marked a")) {
  mark.addEventListener("click", () => showVariant(at(mark.hash.slice(1)).closest("[data-variant]").dataset.variant));
}

if (data.sweep.length) {
  const names = [...document.querySelectorAll("#sweep .plot")].map((plot) => plot.id.slice("sweep-".length));
  const paradigms = [...new Set(data.sweep.map((line) => line.paradigm))];
  for (const paradigm of paradigms) {
    const color = PALETTE[paradigms.indexOf(paradigm) % PALETTE.length];
    const group = make("fieldset", {}, make("legend", { style: `color:${color}` }, paradigm));
    const candidates = new Map(data.sweep.filter((line) => line.paradigm === paradigm).map((line) => [line.candidate, line.main]));
    for (const [candidate, main] of candidates) {
      const box = make("input", { type: "checkbox", value: `${paradigm}/${candidate}`, "data-paradigm": paradigm });
      box.checked = main;
      box.addEventListener("change", () => drawSweep(names, paradigms));
      group.append(make("label", {}, box, make("span", { style: `color:${color}` }), ` ${candidate}`));
    }
    at("sweep-lines").append(group);
  }
  drawSweep(names, paradigms);
  for (const name of names) at(`sweep-${name}`).on("plotly_click", showTraining);
}

// ---- how much of E each place carries, against its size and its depth

function drawCarried(id, key, title, axis) {
  const traces = data.frontier.map((model, i) => {
    const shown = model.name.map((_, j) => j).filter((j) => model[key][j] !== null);
    const color = PALETTE[i % PALETTE.length];
    return {
      name: model.label,
      mode: key === "depth" ? "lines+markers" : "markers",
      x: shown.map((j) => model[key][j]),
      y: shown.map((j) => model.value[j]),
      text: shown.map((j) => model.name[j]),
      hovertemplate: "%{text}: %{y:.2f}<extra>%{fullData.name}</extra>",
      error_y: { type: "data", symmetric: false, array: shown.map((j) => model.high[j] - model.value[j]), arrayminus: shown.map((j) => model.value[j] - model.low[j]), thickness: 1.2, width: 3 },
      line: { color, width: 1.2 },
      marker: { color, size: 8, symbol: shown.map((j) => (model.input[j] ? "x-thin-open" : `${SYMBOLS[i % SYMBOLS.length]}${model.exact[j] ? "-open" : ""}`)) },
    };
  });
  Plotly.react(id, traces, {
    title: { text: title, font: { ...FONT, size: 14 }, x: 0.01, xanchor: "left" },
    font: FONT,
    margin: { l: 44, r: 10, t: 36, b: 70 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "#fff",
    legend: { orientation: "h", y: -0.28 },
    xaxis: { ...axis, gridcolor: "#eceeef", zeroline: false },
    yaxis: { title: { text: "S₁" }, gridcolor: "#eceeef", zeroline: true, zerolinecolor: "#8b949c" },
  }, { responsive: true, displayModeBar: false });
}

if (data.frontier.length) {
  drawCarried("frontier", "size", "carried against size", { type: "log", title: { text: "values, relative to the picture’s", standoff: 6 } });
  drawCarried("depth", "depth", "carried against depth", { title: { text: "relative depth", standoff: 6 } });
}

// ---- the map

const THUMBNAIL = 96;

function options(select, names, keep) {
  const before = select.value;
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  if (keep && names.includes(before)) select.value = before;
}

function currentMap() {
  const cell = data.umap[Number(at("map-cell").value)];
  const candidate = cell.candidates.find((other) => other.name === at("map-candidate").value);
  return { cell, candidate, factor: cell.factors.find((other) => other.name === at("map-factor").value) };
}

function mapTraces(candidate, factor) {
  const base = { type: "scatter", mode: "markers", hoverinfo: "none" };
  const points = (kept) => ({ x: kept.map((i) => candidate.x[i]), y: kept.map((i) => candidate.y[i]), customdata: kept.map((i) => candidate.image[i]) });
  const all = candidate.x.map((_, i) => i);
  const line = { color: "#fff", width: 0.5 };
  if (!factor) return [{ ...base, ...points(all), marker: { size: 8, color: PALETTE[0], opacity: 0.8, line } }];
  const values = all.map((i) => factor.values[candidate.image[i]]);
  if (factor.kind === "categorical") {
    const classes = [...new Set(factor.values)].sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
    return classes.map((value, k) => ({ ...base, ...points(all.filter((i) => values[i] === value)), name: String(value), marker: { size: 8, color: PALETTE[k % PALETTE.length], opacity: 0.85, line } }));
  }
  const circular = factor.kind === "circular";
  const wheel = [0, 1, 2, 3, 4, 5, 6].map((k) => [k / 6, `hsl(${k * 60}, 65%, 48%)`]);
  const scale = circular ? { colorscale: wheel, cmin: 0, cmax: 1 } : { colorscale: "Viridis" };
  return [{ ...base, ...points(all), marker: { size: 8, color: values, ...scale, line, colorbar: { thickness: 10, len: 0.7, outlinewidth: 0 } } }];
}

function drawMap() {
  const { candidate, factor } = currentMap();
  const axis = { showgrid: false, zeroline: false, showticklabels: false, ticks: "" };
  at("thumbnail").hidden = true;
  Plotly.react("map-plot", mapTraces(candidate, factor), {
    font: FONT,
    margin: { l: 10, r: 10, t: 10, b: 10 },
    hovermode: "closest",
    hoverdistance: 14,
    dragmode: false,
    showlegend: factor?.kind === "categorical",
    legend: { orientation: "h", y: -0.02, title: { text: factor?.name ?? "" } },
    xaxis: axis,
    yaxis: { ...axis, scaleanchor: "x" },
    plot_bgcolor: "#fff",
  }, { responsive: true, displayModeBar: false });
}

function showThumbnail(event) {
  const point = event.points[0];
  const { cell } = currentMap();
  const image = point.customdata;
  const box = at("thumbnail");
  const [tile, text] = box.children;
  tile.hidden = !cell.sheet;
  if (cell.sheet) {
    const sheet = data.pictures[cell.sheet];
    const zoom = THUMBNAIL / (sheet.width / cell.columns);
    tile.style.width = tile.style.height = `${THUMBNAIL}px`;
    tile.style.backgroundImage = `url("${sheet.uri}")`;
    tile.style.backgroundSize = `${sheet.width * zoom}px ${sheet.height * zoom}px`;
    tile.style.backgroundPosition = `${-(image % cell.columns) * THUMBNAIL}px ${-Math.floor(image / cell.columns) * THUMBNAIL}px`;
  }
  const facts = cell.factors.map((factor) => `${factor.name} ${shown(factor.values[image])}`);
  text.textContent = [`image ${image}`, ...facts].join("\n");
  box.hidden = false;
  const x = point.xaxis.l2p(point.x) + point.xaxis._offset;
  const y = point.yaxis.l2p(point.y) + point.yaxis._offset;
  const room = at("map-plot");
  box.style.left = `${x + 14 + box.offsetWidth > room.clientWidth ? Math.max(0, x - 14 - box.offsetWidth) : x + 14}px`;
  box.style.top = `${Math.max(0, Math.min(y - box.offsetHeight / 2, room.clientHeight - box.offsetHeight))}px`;
}

if (data.umap.length) {
  at("map-cell").replaceChildren(...data.umap.map((cell, i) => make("option", { value: i }, cell.name)));
  const refill = () => {
    const cell = data.umap[Number(at("map-cell").value)];
    options(at("map-candidate"), cell.candidates.map((candidate) => candidate.name), true);
    options(at("map-factor"), cell.factors.length ? cell.factors.map((factor) => factor.name) : ["none"], true);
    drawMap();
  };
  at("map-cell").addEventListener("change", refill);
  at("map-candidate").addEventListener("change", drawMap);
  at("map-factor").addEventListener("change", drawMap);
  refill();
  at("map-plot").on("plotly_hover", showThumbnail);
  at("map-plot").on("plotly_click", showThumbnail);
  at("map-plot").on("plotly_unhover", () => { at("thumbnail").hidden = true; });
}
