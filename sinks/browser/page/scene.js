// Draws the 3D view: floor, axes, cameras, trails and people of one or several sources.

import { colours, drawBody, drawContacts, drawName, drawShadow } from "./figure.js";
import { indexAt } from "./store.js";
import { theme } from "./theme.js";

const GRID_M = 1;
const GRID_LINES = 8; // to each side of the target
const TRAIL_MS = 4000;
const FADE_MS = 1000;
const MAX_NAMES = 12;
const MAX_BACKGROUNDS = 4;
const TRAIL_STEP_PX = 5;

const backgrounds = new Map(); // painted gradients by size and colours: copying is faster than painting

export function drawBackground(context, rect) {
  const [width, height] = [Math.ceil(rect.width), Math.ceil(rect.height)];
  if (!width || !height) return;
  const key = `${width} ${height} ${theme.top} ${theme.bottom}`;
  if (!backgrounds.has(key)) {
    if (backgrounds.size >= MAX_BACKGROUNDS) backgrounds.clear();
    backgrounds.set(key, painted(width, height));
  }
  context.drawImage(backgrounds.get(key), Math.floor(rect.x), Math.floor(rect.y));
}

function painted(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  const gradient = context.createLinearGradient(0, 0, 0, height);
  gradient.addColorStop(0, theme.top);
  gradient.addColorStop(1, theme.bottom);
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);
  return canvas;
}

// Draws sources that share their axes. items: [{source, frame, frames, stale, t}]; returns projected joints.
export function drawScene(context, projection, target, items, options) {
  context.lineCap = context.lineJoin = "round";
  floor(context, projection, target);
  axes(context, projection);
  for (const { source, frame } of items) camera(context, projection, source, frame);
  const people = items.flatMap((item) => visiblePeople(item));
  for (const item of people) trail(context, projection, item);
  for (const { person, source, alpha, stale } of people) {
    context.globalAlpha = alpha;
    if (!stale) drawContacts(context, projection, person, source.skeleton);
    drawShadow(context, projection, person, source.skeleton);
  }
  people.sort((a, b) => depth(projection, b.person) - depth(projection, a.person));
  const targets = [];
  for (const { person, source, alpha, stale, fading } of people) {
    context.globalAlpha = alpha;
    const points = drawBody(context, projection, person, source.skeleton, stale);
    targets.push({ person, source, points, fading });
    if (people.length <= MAX_NAMES && options.names) drawName(context, projection, person, source.skeleton);
  }
  context.globalAlpha = 1;
  return targets;
}

function depth(projection, person) {
  const value = projection.depth(person.at[0], person.at[1], person.at[2]);
  return Number.isNaN(value) ? 0 : value;
}

// People of a frame, and lost ones, which fade within a second.
function visiblePeople({ source, frame, frames, stale, t }) {
  const shown = new Map();
  for (let n = Math.max(0, indexAt(frames, frame.t - FADE_MS)); n < frames.length && frames[n].t <= frame.t; n++) {
    for (const person of frames[n].persons) {
      if (person.state === "lost") continue;
      const fading = frames[n] !== frame;
      const left = fading ? 0.6 * (1 - (t - frames[n].t) / FADE_MS) : 1;
      const alpha = left * (person.state === "predicted" ? 0.6 : 1) * (stale ? 0.7 : 1);
      shown.set(person.id, { person, source, frame, frames, alpha, stale, fading });
    }
  }
  return [...shown.values()].filter(({ alpha }) => alpha > 0.02);
}

function trail(context, projection, { person, frame, frames, stale, alpha }) {
  if (!person.placed) return;
  const points = [];
  let n = Math.max(0, indexAt(frames, frame.t - TRAIL_MS));
  for (let last = -Infinity; n < frames.length && frames[n].t <= frame.t; n++) {
    if (frames[n].t - last < 90) continue;
    const earlier = frames[n].persons.find(({ id, state }) => id === person.id && state !== "lost");
    if (!earlier?.placed) continue;
    last = frames[n].t;
    const point = projection.point(earlier.root[0], earlier.root[1], 0);
    const before = points[points.length - 1];
    const near = point && before && Math.abs(point[0] - before[0]) + Math.abs(point[1] - before[1]) < TRAIL_STEP_PX;
    if (!near) points.push(point);
  }
  context.strokeStyle = colours(person.slot, stale).main;
  context.lineWidth = 2.5;
  context.lineCap = "butt";
  for (let k = 1; k < points.length; k++) {
    const [a, b] = [points[k - 1], points[k]];
    if (!a || !b) continue;
    context.globalAlpha = alpha * 0.7 * (k / points.length);
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.stroke();
  }
  context.lineCap = "round";
}

function floor(context, projection, target) {
  const [cx, cy] = [target.x, target.y].map((value) => Math.round(value / GRID_M) * GRID_M);
  const reach = GRID_LINES * GRID_M;
  context.strokeStyle = theme.floor;
  for (let n = -GRID_LINES; n <= GRID_LINES; n++) {
    const fade = 1 - Math.abs(n) / (GRID_LINES + 1);
    for (let k = -GRID_LINES; k < GRID_LINES; k += 2) {
      context.globalAlpha = fade * (1 - Math.abs(k + 1) / (GRID_LINES + 1));
      const offset = n * GRID_M;
      const lines = [
        [[cx + offset, cy + k * GRID_M, 0], [cx + offset, cy + (k + 2) * GRID_M, 0], cx + offset],
        [[cx + k * GRID_M, cy + offset, 0], [cx + (k + 2) * GRID_M, cy + offset, 0], cy + offset],
      ];
      if (Math.abs(offset) > reach) continue;
      for (const [a, b, coordinate] of lines) {
        const ends = projection.line(a, b);
        if (!ends) continue;
        context.lineWidth = coordinate % 5 === 0 ? 1.6 : 0.8;
        context.beginPath();
        context.moveTo(ends[0][0], ends[0][1]);
        context.lineTo(ends[1][0], ends[1][1]);
        context.stroke();
      }
    }
  }
  context.globalAlpha = 1;
}

function axes(context, projection) {
  const ends = [["x", [0.5, 0, 0], "#d55e00"], ["y", [0, 0.5, 0], "#009e73"], ["z", [0, 0, 0.5], "#0072b2"]];
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (const [name, end, colour] of ends) {
    const line = projection.line([0, 0, 0], end);
    if (!line) continue;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = 2.5;
    context.beginPath();
    context.moveTo(line[0][0], line[0][1]);
    context.lineTo(line[1][0], line[1][1]);
    context.stroke();
    context.fillText(name, line[1][0], line[1][1] - 5);
  }
}

function rotated([x, y, z, w], [a, b, c]) {
  const t = [2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)];
  return [
    a + w * t[0] + y * t[2] - z * t[1],
    b + w * t[1] + z * t[0] - x * t[2],
    c + w * t[2] + x * t[1] - y * t[0],
  ];
}

// Turns optical axes into display axes: those of the world, or of the camera itself with z up.
export function cameraPlace(source, frame) {
  const place = source.meta?.extrinsics;
  if (frame.optical) {
    if (!frame.persons.some(({ placed }) => placed)) return null;
    return { at: [0, 0, -frame.floor], turn: ([x, y, z]) => [x, z, -y] };
  }
  return place ? { at: place.pos, turn: (point) => rotated(place.quat, point) } : null;
}

function camera(context, projection, source, frame) {
  const place = cameraPlace(source, frame);
  if (!place) return;
  const size = source.meta?.size_wh ?? [16, 9];
  const lens = source.meta?.intrinsics;
  const focal = lens ? lens.fx : size[0] * 0.9;
  const ahead = 0.35;
  const [w, h] = size.map((pixels) => (ahead * pixels) / focal / 2);
  const move = (point) => place.turn(point).map((value, axis) => value + place.at[axis]);
  const corners = [[-w, -h], [w, -h], [w, h], [-w, h]].map(([x, y]) => move([x, y, ahead]));
  const centre = move([0, 0, 0]);
  const roof = [move([-w * 0.4, -h * 1.15, ahead]), move([0, -h * 1.6, ahead]), move([w * 0.4, -h * 1.15, ahead])];
  const lines = corners.flatMap((corner, n) => [[corner, corners[(n + 1) % 4]], [centre, corner]]);
  lines.push([roof[0], roof[1]], [roof[1], roof[2]]);
  context.strokeStyle = theme.soft;
  context.lineWidth = 1.3;
  context.beginPath();
  for (const [a, b] of lines) {
    const ends = projection.line(a, b);
    if (!ends) continue;
    context.moveTo(ends[0][0], ends[0][1]);
    context.lineTo(ends[1][0], ends[1][1]);
  }
  context.stroke();
  const label = projection.point(...roof[1]);
  if (!label) return;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillStyle = theme.soft;
  context.fillText(source.name, label[0], label[1] - 6);
}

// The middle and the reach of all people of a frame, for fitting the view.
export function extent(items) {
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (const { frame } of items) {
    for (const { at, state } of frame.persons) {
      if (state === "lost") continue;
      for (let n = 0; n < at.length; n += 3) {
        for (let axis = 0; axis < 3; axis++) {
          const value = at[n + axis];
          if (value < low[axis]) low[axis] = value;
          if (value > high[axis]) high[axis] = value;
        }
      }
    }
  }
  if (low[0] > high[0]) return null;
  const middle = low.map((value, axis) => (value + high[axis]) / 2);
  const reach = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
  return { x: middle[0], y: middle[1], z: Math.max(0.7, middle[2]), distance: Math.max(3.6, 2.9 * reach) };
}
