// Draws one person: shadow, limbs, joints by origin, feet on the floor, name.

import { theme } from "./theme.js";

export const [ABSENT, OBSERVED, INTERPOLATED, PREDICTED] = [0, 1, 2, 3];
const LIMB_M = 0.06;
const JOINT_M = 0.03;
const HEAD_M = 0.1;
const FOOT_M = 0.15;
const MAX_POLYGON_PX = 16;
// Half a circle ahead of the end of a line, as parts of half its width.
const CAP = [-90, -54, -18, 18, 54, 90].map((degrees) => [
  Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180),
]);
const CIRCLE = Array.from({ length: 17 }, (_, n) => [Math.cos((n * Math.PI) / 8), Math.sin((n * Math.PI) / 8)]);

export function colours(slot, grey) {
  return grey ? theme.grey : theme.persons[slot];
}

// Projected joints: [x, y, depth] or null for each.
function projected(projection, person) {
  const points = [];
  for (let n = 0; n < person.at.length; n += 3) {
    const [x, y, z] = [person.at[n], person.at[n + 1], person.at[n + 2]];
    points.push(x === x ? projection.point(x, y, z) : null);
  }
  return points;
}

export function drawShadow(context, projection, person, skeleton) {
  const foot = projection.point(person.at[0], person.at[1], 0);
  if (!foot) return;
  context.beginPath();
  for (const [joint, parent] of skeleton.bones) {
    const [a, b] = [joint, parent].map((n) => projection.point(person.at[3 * n], person.at[3 * n + 1], 0));
    if (!a || !b) continue;
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
  }
  context.strokeStyle = theme.shadow;
  context.lineWidth = Math.max(2, (projection.focal * 0.06) / foot[2]);
  context.stroke();
}

export function drawContacts(context, projection, person, skeleton) {
  const { contact, at } = person;
  if (!contact) return;
  [contact.left, contact.right].forEach((rests, side) => {
    const ankle = skeleton.ankles[side];
    if (!rests || ankle < 0 || Number.isNaN(at[3 * ankle])) return;
    const rim = CIRCLE.map(([c, s]) => projection.point(at[3 * ankle] + FOOT_M * c, at[3 * ankle + 1] + FOOT_M * s, 0));
    if (rim.includes(null)) return;
    context.beginPath();
    rim.forEach(([x, y]) => context.lineTo(x, y));
    context.fillStyle = theme.contact;
    context.globalAlpha *= 0.75;
    context.fill();
    context.globalAlpha /= 0.75;
  });
}

// Draws the body; returns the projected joints, for pointing at them.
export function drawBody(context, projection, person, skeleton, grey) {
  const points = projected(projection, person);
  const colour = colours(person.slot, grey);
  const parts = [];
  for (const [joint, parent] of skeleton.bones) {
    const [a, b] = [points[joint], points[parent]];
    if (a && b) parts.push({ depth: (a[2] + b[2]) / 2, draw: () => limb(context, projection, colour, person, skeleton, joint, a, b) });
  }
  const torso = skeleton.torso.map((joint) => points[joint]);
  if (skeleton.torso.every((joint) => joint >= 0) && !torso.includes(null) && !torso.includes(undefined)) {
    const depth = torso.reduce((sum, point) => sum + point[2], 0) / 4 + 0.02;
    parts.push({ depth, draw: () => trunk(context, torso, colour) });
  }
  const [face, top] = skeleton.head.map((joint) => points[joint]);
  if (face && top) parts.push({ depth: face[2] - 0.05, draw: () => head(context, projection, face, top, colour) });
  parts.sort((a, b) => b.depth - a.depth);
  for (const part of parts) part.draw();
  joints(context, projection, person, points);
  return points;
}

function limb(context, projection, colour, person, skeleton, joint, a, b) {
  const width = Math.max(2.2, (projection.focal * LIMB_M) / ((a[2] + b[2]) / 2));
  const guessed = person.origin[joint] === PREDICTED;
  bar(context, a, b, width + 2.5, theme.outline);
  const shade = skeleton.right.has(joint) ? colour.right : colour.main;
  if (guessed) {
    context.globalAlpha *= 0.5;
    context.setLineDash([width * 0.2, width * 1.3]);
    line(context, a, b, width, shade);
    context.setLineDash([]);
    context.globalAlpha /= 0.5;
  } else bar(context, a, b, width, shade);
}

function line(context, a, b, width, colour) {
  context.beginPath();
  context.moveTo(a[0], a[1]);
  context.lineTo(b[0], b[1]);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke();
}

// A line with round ends. Thin ones are polygons, which a browser without a GPU draws in half the time.
function bar(context, a, b, width, colour) {
  if (width > MAX_POLYGON_PX) return line(context, a, b, width, colour);
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy);
  const scale = length > 0 ? width / 2 / length : 0;
  const [ux, uy] = length > 0 ? [dx * scale, dy * scale] : [width / 2, 0];
  context.beginPath();
  for (const [[x, y], side] of [[a, -1], [b, 1]]) {
    for (const [ahead, across] of CAP) {
      context.lineTo(x + side * (ahead * ux - across * uy), y + side * (ahead * uy + across * ux));
    }
  }
  context.fillStyle = colour;
  context.fill();
}

function trunk(context, corners, colour) {
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.fillStyle = colour.main;
  context.globalAlpha *= 0.28;
  context.fill();
  context.globalAlpha /= 0.28;
}

function head(context, projection, face, top, colour) {
  const radius = Math.max(3, (projection.focal * HEAD_M) / face[2]);
  context.beginPath();
  context.arc((face[0] + top[0]) / 2, (face[1] + top[1]) / 2, radius, 0, 7);
  context.fillStyle = colour.main;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = theme.outline;
  context.stroke();
}

// Observed joints are filled, interpolated ones are rings, predicted ones are crosses.
function joints(context, projection, person, points) {
  context.lineWidth = 1.5;
  points.forEach((point, joint) => {
    if (!point) return;
    const [x, y, depth] = point;
    const radius = Math.min(6, Math.max(1.6, (projection.focal * JOINT_M) / depth));
    const origin = person.origin[joint];
    context.beginPath();
    if (origin === PREDICTED) {
      context.moveTo(x - radius, y - radius);
      context.lineTo(x + radius, y + radius);
      context.moveTo(x + radius, y - radius);
      context.lineTo(x - radius, y + radius);
      context.strokeStyle = theme.text;
      context.stroke();
      return;
    }
    context.arc(x, y, radius, 0, 7);
    if (origin === OBSERVED) {
      context.fillStyle = theme.text;
      context.fill();
    } else {
      context.fillStyle = theme.outline;
      context.fill();
      context.strokeStyle = theme.text;
      context.stroke();
    }
  });
}

export function drawName(context, projection, person, skeleton) {
  const [, top] = skeleton.head;
  const joint = top >= 0 ? top : 0;
  const point = projection.point(person.at[3 * joint], person.at[3 * joint + 1], person.at[3 * joint + 2] + 0.22);
  if (!point) return;
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 3;
  context.strokeStyle = theme.outline;
  context.strokeText(person.id, point[0], point[1]);
  context.fillStyle = theme.text;
  context.fillText(person.id, point[0], point[1]);
}

// The angle in degrees between the bones that meet in a joint; null where fewer than two do.
export function jointAngle(person, skeleton, joint) {
  const at = (n) => person.at.subarray(3 * n, 3 * n + 3);
  const ends = [skeleton.parents[joint], skeleton.parents.indexOf(joint)];
  if (ends.some((end) => !(end >= 0))) return null;
  const [a, b] = ends.map((end) => at(end).map((value, axis) => value - at(joint)[axis]));
  const dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const angle = Math.acos(dot / (Math.hypot(...a) * Math.hypot(...b)));
  return Number.isNaN(angle) ? null : (angle * 180) / Math.PI;
}
