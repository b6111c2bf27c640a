// The panels beside the 3D view: keypoints in the image, numbers and curves, people.

import { colours } from "./figure.js";
import { KEPT_MS, STAGES, STALE_MS } from "./store.js";
import { fitted, theme } from "./theme.js";

const $ = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function drawKeypoints(source, frame, grey, picture) {
  const canvas = $("keypoints");
  const size = source?.meta?.size_wh;
  const persons = frame?.persons.filter(({ kp2d }) => kp2d) ?? [];
  setText($("image-size"), size ? `${size[0]} × ${size[1]}` : "");
  const ratio = size ? `${size[0]} / ${size[1]}` : "16 / 9";
  if (canvas.dataset.ratio !== ratio) canvas.style.aspectRatio = canvas.dataset.ratio = ratio;
  const { context, width, height } = fitted(canvas);
  context.clearRect(0, 0, width, height);
  const missing = frame && frame.persons.some(({ state }) => state !== "lost") && !persons.length;
  $("keypoints-note").hidden = !missing;
  if (missing) setText($("keypoints-note"), "The poses come without keypoints; set lifter.kp2d: true to see them.");
  canvas.dataset.picture = String(Boolean(picture));
  if (!size) return;
  if (picture) context.drawImage(picture, 0, 0, width, height);
  if (picture && grey) return; // the poses are older than the picture
  const scale = width / size[0];
  context.lineCap = "round";
  for (const { kp2d, slot, origin } of persons) {
    const colour = colours(slot, grey);
    const point = (joint) => [kp2d[3 * joint] * scale, kp2d[3 * joint + 1] * scale];
    context.lineWidth = 3;
    for (const [joint, parent] of source.skeleton.bones) {
      const [[x, y], [u, v]] = [point(joint), point(parent)];
      if (!(x === x && u === u)) continue;
      context.globalAlpha = kp2d[3 * joint + 2] > 0 ? 1 : 0.35;
      context.strokeStyle = source.skeleton.right.has(joint) ? colour.right : colour.main;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(u, v);
      context.stroke();
    }
    context.globalAlpha = 1;
    context.fillStyle = picture ? "#ffffff" : theme.text;
    for (let joint = 0; joint < origin.length; joint++) {
      const [x, y] = point(joint);
      if (!(x === x) || !(kp2d[3 * joint + 2] > 0)) continue;
      context.beginPath();
      context.arc(x, y, 1.8, 0, 7);
      context.fill();
    }
  }
}

function number(element, value, unit) {
  const text = value === null ? "–" : `${value} ${unit}`;
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  element.textContent = value === null ? "–" : value;
  if (value === null || !unit) return;
  const small = document.createElement("small");
  small.textContent = ` ${unit}`;
  element.append(small);
}

export function showNumbers(source, frame, now, live) {
  const fresh = frame && (!live || now - source.newest.arrived < STALE_MS);
  const age = fresh && frame.mode !== "offline" ? Math.max(0, live ? source.age(now) : frame.age) : null;
  number($("age"), age === null ? null : age < 9950 ? age.toFixed(0) : (age / 1000).toFixed(0), age < 9950 ? "ms" : "s");
  number($("rate"), source ? source.rate(now).toFixed(1) : null, "/s");
  number($("hop"), frame ? String(frame.hop) : null, frame?.lag ? `lag ${frame.lag}` : "");
  number($("dropped"), frame ? String(frame.dropped) : null, "");
  STAGES.forEach((stage, n) => setText($(`stage-${stage}`), frame ? `${stage} ${frame.lat[n].toFixed(1)}` : stage));
}

export function makeStages() {
  for (const stage of STAGES) {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    const text = document.createElement("span");
    text.id = `stage-${stage}`;
    text.textContent = stage;
    swatch.dataset.stage = stage;
    item.append(swatch, text);
    $("stages").append(item);
  }
  paintStages();
}

export function paintStages() {
  document.querySelectorAll("#stages i").forEach((swatch, n) => (swatch.style.background = theme.stages[n]));
}

// Of the frames of one second: their largest age and hop, their number, and how many were dropped since the frame
// before them.
const CURVES = {
  age: (frames) => Math.max(...frames.map(({ age, mode }) => (mode === "offline" ? 0 : age))),
  rate: (frames) => frames.length,
  hop: (frames) => Math.max(...frames.map(({ hop }) => hop)),
  dropped: (frames, before = frames[0]) => Math.max(0, frames.at(-1).dropped - before.dropped),
};

// A small curve beneath each number: a point for each whole second of the last 30, from 0 to the largest value.
export function drawCurves(frames, end) {
  const first = Math.ceil((end - KEPT_MS) / 1000);
  const seconds = Array.from({ length: Math.floor(end / 1000) - first }, () => []);
  for (const frame of frames) seconds[Math.floor(frame.t / 1000) - first]?.push(frame);
  for (const [name, valueOf] of Object.entries(CURVES)) {
    const { context, width, height } = fitted($(`${name}-curve`));
    const values = seconds.map((frames, n) => (frames.length ? valueOf(frames, seconds[n - 1]?.at(-1)) : null));
    const high = Math.max(1, ...values);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = theme.soft;
    context.lineWidth = 1.2;
    context.beginPath();
    values.forEach((value, n) => {
      const at = [((n + 0.5) * width) / values.length, height - 1 - (value / high) * (height - 2)];
      if (value !== null) context[n && values[n - 1] !== null ? "lineTo" : "moveTo"](...at);
    });
    context.stroke();
  }
}

// Stacked areas: where the milliseconds between capture and sending went. The line is the age on arrival.
export function drawLatency(frames, end) {
  const { context, width, height } = fitted($("latency"));
  context.clearRect(0, 0, width, height);
  const columns = Math.max(1, Math.floor(width / 2));
  const sums = Array.from({ length: columns }, () => null);
  const ages = Array.from({ length: columns }, () => null);
  for (const { t, lat, age, mode } of frames) {
    const column = Math.floor(((t - end) / KEPT_MS + 1) * columns);
    if (column < 0 || column >= columns) continue;
    if (mode !== "offline") ages[column] = Math.max(ages[column] ?? 0, age);
    const total = (values) => values.reduce((sum, value) => sum + value, 0);
    if (!sums[column] || total(lat) > total(sums[column])) sums[column] = lat;
  }
  const totals = sums.filter(Boolean).map((lat) => lat.reduce((sum, value) => sum + value, 0)).sort((a, b) => a - b);
  const known = ages.filter((age) => age !== null).sort((a, b) => a - b);
  const usual = (values) => values[Math.floor(0.95 * values.length)] ?? 0;
  // The stages stay readable when the age is many times their sum; its line is cut off then.
  const high = Math.max(5, 1.2 * usual(totals), 1.2 * Math.min(usual(known), 2 * usual(totals)));
  sums.forEach((lat, column) => {
    if (!lat) return;
    let y = height;
    lat.forEach((value, n) => {
      const part = Math.min(y, (value / high) * height);
      context.fillStyle = theme.stages[n];
      context.fillRect((column * width) / columns, y - part, width / columns + 0.5, part);
      y -= part;
    });
  });
  context.strokeStyle = theme.text;
  context.lineWidth = 1.2;
  context.beginPath();
  ages.forEach((age, column) => {
    if (age !== null) context.lineTo(((column + 0.5) * width) / columns, height - Math.min(1, age / high) * height);
  });
  context.stroke();
  context.strokeStyle = theme.line;
  context.lineWidth = 1;
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "left";
  context.lineWidth = 3;
  context.strokeStyle = theme.card;
  context.strokeText(`${high.toFixed(0)} ms`, 4, 11);
  context.fillStyle = theme.soft;
  context.fillText(`${high.toFixed(0)} ms`, 4, 11);
}

// The last 30 s: a bar per frame, as high as many people are in it; gaps are hatched.
export function drawStrip(frames, end, recording) {
  const { context, width, height } = fitted($("strip"));
  context.clearRect(0, 0, width, height);
  const x = (t) => ((t - end) / KEPT_MS + 1) * width;
  if (recording) {
    const [from, to] = [x(recording.from), x(recording.to ?? end)];
    context.fillStyle = "rgb(208 59 59 / 25%)";
    context.fillRect(Math.max(0, from), 0, Math.max(0, to - Math.max(0, from)), height);
  }
  const most = Math.max(1, ...frames.map(({ persons }) => persons.length));
  let last = -1;
  context.fillStyle = theme.accent;
  for (const { t, persons } of frames) {
    const column = Math.floor(x(t) / 2);
    if (column === last) continue;
    last = column;
    const present = persons.filter(({ state }) => state !== "lost").length;
    context.globalAlpha = present ? 0.55 : 0.3;
    const bar = present ? 4 + (present / most) * (height - 12) : 2;
    context.fillRect(2 * column, height - bar, 2, bar);
  }
  context.globalAlpha = 1;
  context.fillStyle = theme.warn;
  const marks = [...frames.map(({ t }) => t), end];
  for (let n = 1; n < marks.length; n++) {
    if (marks[n] - marks[n - 1] > STALE_MS) context.fillRect(x(marks[n - 1]), height - 4, x(marks[n]) - x(marks[n - 1]), 4);
  }
}

export function showPeople(frame, grey) {
  const list = $("people");
  const persons = frame?.persons ?? [];
  const key = persons.map(({ id }) => id).join(" ");
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(
      ...persons.map(() => {
        const item = document.createElement("li");
        item.append(...["i", "b", "span", "span"].map((tag) => document.createElement(tag)));
        return item;
      }),
    );
  }
  persons.forEach((person, n) => {
    const [swatch, name, place, score] = list.children[n].children;
    const [x, y] = person.root;
    const feet = person.contact ? [person.contact.left && "L", person.contact.right && "R"].filter(Boolean).join(" ") : "";
    list.children[n].className = person.state;
    swatch.style.background = colours(person.slot, grey).main;
    setText(name, person.id);
    const state = grey ? "stale" : person.state;
    const distance = person.placed ? `${Math.hypot(x, y).toFixed(1)} m` : "";
    setText(place, [state, distance, grey ? "" : feet].filter(Boolean).join("  "));
    setText(score, person.state === "lost" ? "–" : `${Math.round(100 * person.score)} %`);
  });
}
