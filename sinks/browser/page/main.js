// The viewer: connects the received messages, the input and the drawing.

import { Connection } from "./connection.js";
import { jointAngle } from "./figure.js";
import { listen } from "./input.js";
import { Orbit } from "./orbit.js";
import { drawKeypoints, drawLatency, drawStrip, makeStages, paintStages, setText, showNumbers, showPeople } from "./panels.js";
import { Recorder } from "./recorder.js";
import { cameraPlace, drawBackground, drawScene, extent } from "./scene.js";
import { describe } from "./state.js";
import { KEPT_MS, STALE_MS, Store, frameAt, indexAt, isOptical } from "./store.js";
import { fitted, onThemeChange } from "./theme.js";

const $ = (id) => document.getElementById(id);
const WALL = "\u0000wall";
const WORLD = "\u0000world";
const MAX_VIEWS = 16;
const PANEL_MS = 200; // numbers and curves change at most this often
const HIT_PX = 14;
const FOLLOW_MS = 900;
const ORIGINS = ["absent", "observed", "interpolated", "predicted"];

const store = new Store();
const orbit = new Orbit();
const app = {
  link: { state: "connecting", text: "", since: performance.now() },
  selected: null,
  paused: null, // {t, frames: Map of name to frames} while paused
  pointer: null,
  fittedTo: null,
  following: true, // the view moves with the people until a person moves or zooms it
  drawnKey: "",
  fading: false,
  framesKey: "",
  followedAt: 0,
  panelsAt: 0,
  targets: [],
};
const connection = new Connection(received, (file, data) => recorder.receive(file, data), linkChanged);
const recorder = new Recorder(connection, newestTime, () => (app.panelsAt = 0));

function received(doc, now) {
  store.receive(doc, now, connection.offset_ms);
  if (app.selected === null && store.sources.size) select(store.sources.keys().next().value);
}

function linkChanged(state, text) {
  if (state !== app.link.state) app.link = { state, text, since: performance.now(), at: new Date() };
  if (state === "open") recorder.resume();
  if (state !== "token") return;
  if (text) setText($("token-note"), text);
  if (!$("token-dialog").open) $("token-dialog").showModal();
}

// Sources

function select(name) {
  app.selected = name;
  app.fittedTo = null;
  app.drawnKey = "";
}

// Names of the sources that share a world with others, and can be shown together.
function shared() {
  const worlds = new Map();
  for (const { name, meta } of store.sources.values()) {
    if (meta && !isOptical(meta.frame_id)) worlds.set(meta.frame_id, [...(worlds.get(meta.frame_id) ?? []), name]);
  }
  return [...worlds.values()].find((names) => names.length > 1) ?? [];
}

function choices() {
  const names = [...store.sources.keys()].sort();
  if (names.length < 2) return names;
  return [WALL, ...(shared().length ? [WORLD] : []), ...names];
}

function selectedSources() {
  if (app.selected === WALL) return [...store.sources.keys()].sort().slice(0, MAX_VIEWS).map((name) => store.sources.get(name));
  if (app.selected === WORLD) return shared().map((name) => store.sources.get(name));
  return [store.sources.get(app.selected)].filter(Boolean);
}

function showChoices(now) {
  const names = choices();
  const list = $("sources");
  if (list.dataset.key !== names.join()) {
    list.dataset.key = names.join();
    list.replaceChildren(...names.map((name) => {
      const button = document.createElement("button");
      const dot = document.createElement("span");
      dot.className = "dot";
      button.append(...(name === WALL || name === WORLD ? [] : [dot]), { [WALL]: "All cameras", [WORLD]: "Together" }[name] ?? name);
      button.onclick = () => select(name);
      return button;
    }));
  }
  names.forEach((name, n) => {
    const button = list.children[n];
    const source = store.sources.get(name);
    button.setAttribute("aria-pressed", String(name === app.selected));
    if (source) button.dataset.health = source.health(now);
  });
}

function cycle(step) {
  const names = choices();
  if (names.length) select(names[(names.indexOf(app.selected) + step + names.length) % names.length]);
}

// Time

function newestTime() {
  const times = [...store.sources.values()].filter(({ newest }) => newest).map(({ newest }) => newest.t);
  return times.length ? Math.max(...times) : null;
}

function endTime(now) {
  if (app.paused) return app.paused.end;
  const newest = selectedSources().map((source) => source.newest).filter(Boolean).sort((a, b) => b.t - a.t)[0];
  return newest ? newest.t + Math.max(0, now - newest.arrived) : null;
}

function pause(t) {
  const now = performance.now();
  if (!app.paused) {
    const end = endTime(now);
    if (end === null) return;
    const frames = new Map([...store.sources].map(([name, source]) => [name, source.frames.slice()]));
    app.paused = { t: end, end, frames };
  }
  app.paused.t = Math.min(app.paused.end, Math.max(app.paused.end - KEPT_MS, t ?? app.paused.t));
  showTime();
}

function goLive() {
  app.paused = null;
  $("scrub").value = 0;
  showTime();
}

function step(direction) {
  pause();
  const source = selectedSources()[0];
  const frames = source && app.paused?.frames.get(source.name);
  if (!frames?.length) return;
  const index = indexAt(frames, app.paused.t) + direction;
  pause(frames[Math.min(frames.length - 1, Math.max(0, index))].t);
}

function showTime() {
  const { paused } = app;
  $("pause").setAttribute("aria-pressed", String(paused !== null));
  $("pause").setAttribute("aria-label", paused ? "Go on" : "Pause");
  $("live").hidden = paused === null;
  const seconds = paused ? (paused.t - paused.end) / 1000 : 0;
  $("scrub").value = seconds;
  setText($("time"), paused ? `${seconds.toFixed(2).replace("-", "−")} s` : "live");
  app.drawnKey = "";
  app.panelsAt = 0;
}

function items(now) {
  return selectedSources().flatMap((source) => {
    const frames = app.paused ? app.paused.frames.get(source.name) ?? [] : source.frames;
    const frame = app.paused ? frameAt(frames, app.paused.t) : source.liveFrame(now);
    const stale = !app.paused && frame !== null && now - source.newest.arrived > STALE_MS;
    // Time goes on after the newest frame, so that lost people fade even when no further frame comes.
    const t = app.paused ? app.paused.t : frame === source.newest ? frame.t + now - frame.arrived : frame?.t;
    return frame ? [{ source, frame, frames, stale, t }] : [];
  });
}

// Drawing

// Where the view must look to show all people; null without people.
function place(shown) {
  const found = extent(shown);
  const aspect = $("scene").clientWidth / $("scene").clientHeight;
  if (found) found.distance *= Math.max(1, 0.8 / aspect);
  return found;
}

function fit(shown, now, ease) {
  const goal = place(shown);
  if (!goal) return false;
  app.following = true;
  const [{ source, frame }] = shown;
  const ahead = cameraPlace(source, frame)?.turn([0, 0, 1]) ?? (frame.optical ? [0, 1, 0] : [1, 0, 0]);
  orbit.base = Math.atan2(ahead[0], ahead[1]);
  if (ease) orbit.easeTo(goal, now);
  else orbit.set({ ...goal, azimuth: orbit.base + 0.5, elevation: 0.22 });
  return true;
}

// A view moved a part of the way to another one; it comes closer more slowly than it backs off.
function between({ x, y, z, distance }, goal, elapsed_ms) {
  const share = 1 - Math.exp(-elapsed_ms / FOLLOW_MS);
  const backOff = share * (goal.distance > distance ? 1 : 0.3);
  return {
    x: x + share * (goal.x - x), y: y + share * (goal.y - y), z: z + share * (goal.z - z),
    distance: distance + backOff * (goal.distance - distance),
  };
}

// Moves the view slowly after the people.
function follow(shown, elapsed_ms) {
  if (app.selected === WALL) {
    for (const item of shown) {
      const goal = extent([item]);
      if (goal) item.source.view = between(item.source.view ?? goal, goal, elapsed_ms);
    }
    return;
  }
  if (!app.following || app.paused || orbit.goal || shown.some(({ stale }) => stale)) return;
  const goal = place(shown);
  if (goal) orbit.set(between(orbit.values, goal, elapsed_ms));
}

function rects(count, width, height) {
  if (app.selected !== WALL) return [{ x: 0, y: 0, width, height }];
  const side = (columns) => Math.min(width / columns, (1.3 * height) / Math.ceil(count / columns));
  let columns = 1;
  for (let n = 2; n <= count; n++) if (side(n) > side(columns)) columns = n;
  const rows = Math.ceil(count / columns);
  return Array.from({ length: count }, (_, n) => ({
    x: ((n % columns) * width) / columns, y: (Math.floor(n / columns) * height) / rows,
    width: width / columns, height: height / rows,
  }));
}

function drawStage(shown, now) {
  const { context, width, height } = fitted($("scene"));
  const wall = app.selected === WALL;
  const sources = wall ? selectedSources() : [null];
  drawBackground(context, { x: 0, y: 0, width, height });
  app.targets = [];
  app.tiles = rects(sources.length, width, height).map((rect, n) => ({ rect, source: sources[n] }));
  for (const { rect, source } of app.tiles) {
    context.save();
    context.beginPath();
    context.rect(rect.x, rect.y, rect.width, rect.height);
    context.clip();
    drawBackground(context, rect);
    const inside = source ? shown.filter((item) => item.source === source) : shown;
    const target = { ...orbit.values, ...source?.view };
    const projection = orbit.projection(rect, target);
    app.targets.push(...drawScene(context, projection, target, inside, { joints: true, names: !wall }));
    context.restore();
    if (source) label(context, rect, source, now);
  }
}

function label(context, rect, source, now) {
  const style = getComputedStyle(document.documentElement);
  const health = source.health(now);
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 1;
  context.strokeRect(rect.x + 0.5, rect.y + 0.5, rect.width, rect.height);
  context.textAlign = "left";
  context.font = "600 13px system-ui, sans-serif";
  context.fillStyle = style.getPropertyValue(health === "stale" ? "--warn" : "--text");
  const words = { live: "", empty: "  no person", stale: "  no data" }[health];
  context.fillText(source.name + words, rect.x + 12, rect.y + (rect.y ? 22 : 64));
}

function showPointed() {
  const tooltip = $("tooltip");
  let best = null;
  if (app.pointer) {
    const [x, y] = app.pointer;
    for (const { person, source, points } of app.targets) {
      points.forEach((point, joint) => {
        if (!point) return;
        const distance = Math.hypot(point[0] - x, point[1] - y);
        if (distance < (best?.distance ?? HIT_PX)) best = { distance, person, source, joint, point };
      });
    }
  }
  tooltip.hidden = best === null;
  if (!best) return;
  const { person, source, joint, point } = best;
  const angle = jointAngle(person, source.skeleton, joint);
  const name = (source.skeleton.joints[joint] ?? `joint ${joint}`).replaceAll("_", " ");
  const lines = [`${person.id}  ${name}`, `score ${person.conf[joint].toFixed(2)}  ${ORIGINS[person.origin[joint]]}`];
  if (angle !== null) lines.push(`angle ${angle.toFixed(0)}°`);
  setText(tooltip, lines.join("\n"));
  const stage = $("stage").getBoundingClientRect();
  tooltip.style.left = `${Math.min(point[0] + 16, stage.width - tooltip.offsetWidth - 8)}px`;
  tooltip.style.top = `${Math.max(8, point[1] - tooltip.offsetHeight - 8)}px`;
}

function showPanels(shown, now) {
  const first = shown[0] ?? null;
  const source = first?.source ?? selectedSources()[0] ?? null;
  const end = endTime(now);
  drawKeypoints(source, first?.frame ?? null, first?.stale ?? false);
  showNumbers(source, first?.frame ?? null, now, app.paused === null);
  showPeople(first?.frame ?? null, first?.stale ?? false);
  if (end !== null) {
    drawLatency(first?.frames ?? [], end);
    drawStrip(first?.frames ?? [], end, recorder.interval);
  }
  showChoices(now);
  recorder.show();
}

function showState(shown, now) {
  const state = describe({ link: app.link, sources: selectedSources(), status: store.status, paused: app.paused, shown, now });
  setText($("state-text"), state.text);
  $("state").dataset.health = state.health;
  document.body.dataset.state = state.name;
  $("banner").hidden = !state.banner;
  setText($("banner"), state.banner ?? "");
  $("message").hidden = !state.message;
  setText($("message"), state.message ?? "");
}

function draw(now) {
  requestAnimationFrame(draw);
  orbit.step(now);
  const shown = items(now);
  if (app.fittedTo !== app.selected && fit(shown, now, false)) app.fittedTo = app.selected;
  const canvas = $("scene");
  const frames = shown.map(({ frame, stale }) => `${frame.arrived}${stale}`).join();
  if (frames !== app.framesKey) {
    follow(shown, Math.min(100, now - app.followedAt));
    app.framesKey = frames;
    app.followedAt = now;
  }
  const key = `${frames} ${orbit.version} ${canvas.clientWidth} ${canvas.clientHeight} ${app.selected} ${app.paused?.t} ${app.fading ? now >> 5 : ""}`;
  const changed = key !== app.drawnKey;
  if (changed) {
    app.drawnKey = key;
    drawStage(shown, now);
    app.fading = app.targets.some(({ fading }) => fading);
    canvas.dataset.drawn = String(Number(canvas.dataset.drawn ?? 0) + 1);
    canvas.dataset.people = String(app.targets.length);
  }
  if (changed || app.pointer) showPointed();
  if (now - app.panelsAt > PANEL_MS) {
    app.panelsAt = now;
    showPanels(shown, now);
    showState(shown, now);
  }
}

// Input

function key(event) {
  const now = performance.now();
  const look = { 1: "front", 2: "side", 3: "top" }[event.key];
  if (look) orbit.look(look, now);
  else if (event.key === "f") fit(items(now), now, true);
  else if (event.key === " " && event.target.tagName !== "BUTTON") app.paused ? goLive() : pause();
  else if (event.key === ",") step(-1);
  else if (event.key === ".") step(1);
  else if (event.key === "r") recorder.toggle();
  else if (event.key === "n") cycle(1);
  else if (event.key === "p") cycle(-1);
  else if (event.key === "w" && store.sources.size > 1) select(WALL);
  else if (event.key === "h" || event.key === "?") $("help").showModal();
  else return false;
  return true;
}

function tapped(x, y) {
  const inside = ({ rect }) => x >= rect.x && x < rect.x + rect.width && y >= rect.y && y < rect.y + rect.height;
  const tile = app.tiles?.find(inside);
  if (app.selected === WALL && tile) return select(tile.source.name);
  app.pointer = [x, y];
  showPointed();
}

listen($("scene"), orbit, {
  moved: () => (app.following = false),
  pointed: (x, y) => {
    app.pointer = x === null ? null : [x, y];
    showPointed();
  },
  tapped,
  key,
});
for (const button of document.querySelectorAll("#views button")) {
  button.onclick = () => {
    const now = performance.now();
    if (button.dataset.view === "fit") fit(items(now), now, true);
    else orbit.look(button.dataset.view, now);
  };
}
$("pause").onclick = () => (app.paused ? goLive() : pause());
$("live").onclick = goLive;
$("scrub").oninput = () => {
  const seconds = Number($("scrub").value);
  pause();
  if (app.paused) pause(app.paused.end + 1000 * seconds);
};
$("help-button").onclick = () => $("help").showModal();
$("token-dialog").oncancel = (event) => event.preventDefault();
$("token-form").onsubmit = () => connection.setToken($("token").value);
onThemeChange(() => {
  paintStages();
  app.drawnKey = "";
});
makeStages();
connection.connect();
requestAnimationFrame(draw);
