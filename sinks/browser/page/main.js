// The viewer: connects the received messages, the input and the drawing.

import { Connection } from "./connection.js";
import { listen } from "./input.js";
import { Orbit } from "./orbit.js";
import { drawCurves, drawKeypoints, drawLatency, drawStrip, makeStages, paintStages, setText, showNumbers, showPeople } from "./panels.js";
import { Pictures } from "./picture.js";
import { Recorder } from "./recorder.js";
import { Selection, WALL } from "./selection.js";
import { Stage } from "./stage.js";
import { describe } from "./state.js";
import { Store, frameAt } from "./store.js";
import { onThemeChange } from "./theme.js";
import { Timeline } from "./timeline.js";

const PANEL_MS = 200; // numbers and curves change at most this often

const $ = (id) => document.getElementById(id);
const canvas = $("scene");
const store = new Store();
const orbit = new Orbit();
const selection = new Selection(store, $("sources"), redraw);
const timeline = new Timeline(store, selection, redraw);
const stage = new Stage(canvas, orbit, selection);
const connection = new Connection(received, receivedFile, linkChanged);
const pictures = new Pictures(connection, $("keypoints"));
const recorder = new Recorder(connection, () => timeline.newestTime(), redraw);
let link = { state: "connecting", text: "", since: performance.now() };
let drawnKey = "";
let panelsAt = 0;

function redraw() {
  drawnKey = "";
  panelsAt = 0;
}

function receivedFile(file, data) {
  if (file.schema === "picture") pictures.receive(file, data);
  else recorder.receive(file, data);
}

function received(doc, now) {
  if (doc.schema === "viewer") {
    pictures.on = doc.pictures;
    $("pictures-on").hidden = !doc.pictures;
    pictures.resume();
  }
  store.receive(doc, now, connection.offset_ms);
  if (selection.name === null && store.sources.size) selection.select(store.sources.keys().next().value);
}

function linkChanged(state, text) {
  if (state !== link.state) link = { state, text, since: performance.now(), at: new Date() };
  if (state === "open") recorder.resume();
  if (state !== "token") return;
  if (text) setText($("token-note"), text);
  if (!$("token-dialog").open) $("token-dialog").showModal();
}

function showPanels(items, now) {
  const { source, frame, frames, stale } = items[0] ?? { source: selection.sources()[0] ?? null, frame: null, frames: [], stale: false };
  const end = timeline.end(now);
  pictures.watch(timeline.paused ? null : source?.name ?? null);
  const picture = pictures.at(stale ? null : frame?.t ?? null, now);
  // The keypoints of the picture's own time, so that they lie on the people in it.
  drawKeypoints(source, picture && frame ? frameAt(frames, picture.t) : frame, stale, picture?.image);
  showNumbers(source, frame, now, timeline.paused === null);
  showPeople(frame, stale);
  if (end !== null) {
    drawCurves(frames, end);
    drawLatency(frames, end);
    drawStrip(frames, end, recorder.interval);
  }
  selection.show(now);
  recorder.show();
}

function showState(items, now) {
  const view = { link, sources: selection.sources(), status: store.status, paused: timeline.paused, shown: items, now };
  const state = describe(view);
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
  const items = timeline.items(now);
  const frames = stage.follow(items, now, timeline.paused !== null);
  const size = `${canvas.clientWidth} ${canvas.clientHeight}`;
  const fading = stage.fading ? now >> 5 : "";
  const key = `${frames} ${orbit.version} ${size} ${selection.name} ${timeline.paused?.t} ${fading}`;
  if (key !== drawnKey) {
    drawnKey = key;
    stage.draw(items, now);
    stage.showTooltip();
  }
  if (now - panelsAt > PANEL_MS) {
    panelsAt = now;
    showPanels(items, now);
    showState(items, now);
  }
}

function fit() {
  const now = performance.now();
  stage.fit(timeline.items(now), now, true);
}

const KEYS = {
  1: () => orbit.look("front", performance.now()),
  2: () => orbit.look("side", performance.now()),
  3: () => orbit.look("top", performance.now()),
  f: fit,
  " ": () => timeline.toggle(),
  ",": () => timeline.step(-1),
  ".": () => timeline.step(1),
  r: () => recorder.toggle(),
  n: () => selection.cycle(1),
  p: () => selection.cycle(-1),
  w: () => store.sources.size > 1 && selection.select(WALL),
  h: () => $("help").showModal(),
  "?": () => $("help").showModal(),
};

function point(pointer) {
  stage.pointer = pointer;
  stage.showTooltip();
}

listen(canvas, orbit, {
  moved: () => (stage.following = false),
  pointed: (x, y) => point(x === null ? null : [x, y]),
  tapped: (x, y) => {
    const source = stage.sourceAt(x, y);
    if (source) selection.select(source.name);
    else point([x, y]);
  },
  key: (event) => {
    const pressesButton = event.key === " " && event.target.tagName === "BUTTON";
    if (!Object.hasOwn(KEYS, event.key) || pressesButton) return false;
    KEYS[event.key]();
    return true;
  },
});
for (const button of document.querySelectorAll("#views button")) {
  const { view } = button.dataset;
  button.onclick = () => (view === "fit" ? fit() : orbit.look(view, performance.now()));
}
$("help-button").onclick = () => $("help").showModal();
$("token-dialog").oncancel = (event) => event.preventDefault();
$("token-form").onsubmit = () => connection.setToken($("token").value);
onThemeChange(() => {
  paintStages();
  redraw();
});
makeStages();
connection.connect();
requestAnimationFrame(draw);
