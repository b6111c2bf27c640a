// The canvas of the 3D view: one view, or a wall of views; follows the people; names the joint below the pointer.

import { jointAngle } from "./figure.js";
import { setText } from "./panels.js";
import { cameraPlace, drawBackground, drawScene, extent } from "./scene.js";
import { fitted, theme } from "./theme.js";

const HIT_PX = 14;
const FOLLOW_MS = 900;
const ORIGINS = ["absent", "observed", "interpolated", "predicted"];
const WORDS = { live: "", empty: "  no person", stale: "  no data" };

const $ = (id) => document.getElementById(id);

// A view moved a part of the way to another one; it comes closer more slowly than it backs off.
function between({ x, y, z, distance }, goal, elapsed_ms) {
  const share = 1 - Math.exp(-elapsed_ms / FOLLOW_MS);
  const backOff = share * (goal.distance > distance ? 1 : 0.3);
  return {
    x: x + share * (goal.x - x), y: y + share * (goal.y - y), z: z + share * (goal.z - z),
    distance: distance + backOff * (goal.distance - distance),
  };
}

// Rectangles of a wall whose views are as large as possible.
function wallRects(count, width, height) {
  const side = (columns) => Math.min(width / columns, (1.3 * height) / Math.ceil(count / columns));
  let columns = 1;
  for (let n = 2; n <= count; n++) if (side(n) > side(columns)) columns = n;
  const rows = Math.ceil(count / columns);
  return Array.from({ length: count }, (_, n) => ({
    x: ((n % columns) * width) / columns, y: (Math.floor(n / columns) * height) / rows,
    width: width / columns, height: height / rows,
  }));
}

export class Stage {
  constructor(canvas, orbit, selection) {
    Object.assign(this, { canvas, orbit, selection });
    this.following = true; // until a person moves or zooms the view
    this.fading = false;
    this.pointer = null;
    this.fittedTo = null;
    this.framesKey = "";
    this.followedAt = 0;
    this.targets = []; // people with their projected joints
    this.tiles = [];
  }

  // Where the view must look to show all people; null without people.
  place(items) {
    const found = extent(items);
    if (found) found.distance *= Math.max(1, (0.8 * this.canvas.clientHeight) / this.canvas.clientWidth);
    return found;
  }

  fit(items, now, ease) {
    const goal = this.place(items);
    if (!goal) return;
    this.following = true;
    this.fittedTo = this.selection.name;
    const [{ source, frame }] = items;
    const ahead = cameraPlace(source, frame)?.turn([0, 0, 1]) ?? (frame.optical ? [0, 1, 0] : [1, 0, 0]);
    this.orbit.base = Math.atan2(ahead[0], ahead[1]);
    if (ease) this.orbit.easeTo(goal, now);
    else this.orbit.set({ ...goal, azimuth: this.orbit.base + 0.5, elevation: 0.22 });
  }

  // Fits the view to the people of a newly selected source, then moves it slowly after them.
  follow(items, now, paused) {
    if (this.fittedTo !== this.selection.name) this.fit(items, now, false);
    const key = items.map(({ frame, stale }) => `${frame.arrived}${stale}`).join();
    if (key === this.framesKey) return key;
    const elapsed_ms = Math.min(500, now - this.followedAt);
    this.framesKey = key;
    this.followedAt = now;
    if (this.selection.isWall) {
      for (const item of items) {
        const goal = extent([item]);
        if (goal) item.source.view = between(item.source.view ?? goal, goal, elapsed_ms);
      }
    } else if (this.following && !paused && !this.orbit.goal && !items.some(({ stale }) => stale)) {
      const goal = this.place(items);
      if (goal) this.orbit.set(between(this.orbit.values, goal, elapsed_ms));
    }
    return key;
  }

  draw(items, now) {
    const { context, width, height } = fitted(this.canvas, false);
    const { isWall } = this.selection;
    const sources = isWall ? this.selection.sources() : [null];
    const rects = isWall ? wallRects(sources.length, width, height) : [{ x: 0, y: 0, width, height }];
    if (isWall) drawBackground(context, { x: 0, y: 0, width, height }); // a wall may have empty places
    this.targets = [];
    this.tiles = rects.map((rect, n) => ({ rect, source: sources[n] }));
    for (const { rect, source } of this.tiles) {
      const inside = source ? items.filter((item) => item.source === source) : items;
      this.drawTile(context, rect, source, inside);
      if (source) this.label(context, rect, source, now);
    }
    this.fading = this.targets.some(({ fading }) => fading);
    this.canvas.dataset.drawn = String(Number(this.canvas.dataset.drawn ?? 0) + 1);
    this.canvas.dataset.people = String(this.targets.length);
    this.canvas.dataset.turning = String(this.orbit.goal !== null);
    this.canvas.dataset.stale = String(items.length > 0 && items.every(({ stale }) => stale));
  }

  drawTile(context, rect, source, items) {
    context.save();
    context.beginPath();
    context.rect(rect.x, rect.y, rect.width, rect.height);
    context.clip();
    drawBackground(context, rect);
    const target = { ...this.orbit.values, ...source?.view };
    const projection = this.orbit.projection(rect, target);
    this.targets.push(...drawScene(context, projection, target, items, { names: source === null }));
    context.restore();
  }

  label(context, rect, source, now) {
    const health = source.health(now);
    context.strokeStyle = theme.line;
    context.lineWidth = 1;
    context.strokeRect(rect.x + 0.5, rect.y + 0.5, rect.width, rect.height);
    context.textAlign = "left";
    context.font = "600 13px system-ui, sans-serif";
    context.fillStyle = health === "stale" ? theme.warn : theme.text;
    context.fillText(source.name + WORDS[health], rect.x + 12, rect.y + (rect.y ? 22 : 64));
  }

  // The source whose view of the wall is at a point.
  sourceAt(x, y) {
    const inside = ({ rect }) => x >= rect.x && x < rect.x + rect.width && y >= rect.y && y < rect.y + rect.height;
    return this.tiles.find(inside)?.source ?? null;
  }

  nearestJoint() {
    let best = null;
    if (!this.pointer) return best;
    const [x, y] = this.pointer;
    for (const { person, source, points } of this.targets) {
      points.forEach((point, joint) => {
        if (!point) return;
        const distance = Math.hypot(point[0] - x, point[1] - y);
        if (distance < (best?.distance ?? HIT_PX)) best = { distance, person, source, joint, point };
      });
    }
    return best;
  }

  showTooltip() {
    const tooltip = $("tooltip");
    const best = this.nearestJoint();
    tooltip.hidden = best === null;
    if (!best) return;
    const { person, source, joint, point } = best;
    const angle = jointAngle(person, source.skeleton, joint);
    const name = (source.skeleton.joints[joint] ?? `joint ${joint}`).replaceAll("_", " ");
    const lines = [`${person.id}  ${name}`, `score ${person.conf[joint].toFixed(2)}  ${ORIGINS[person.origin[joint]]}`];
    if (angle !== null) lines.push(`angle ${angle.toFixed(0)}°`);
    setText(tooltip, lines.join("\n"));
    tooltip.style.left = `${Math.min(point[0] + 16, this.canvas.clientWidth - tooltip.offsetWidth - 8)}px`;
    tooltip.style.top = `${Math.max(8, point[1] - tooltip.offsetHeight - 8)}px`;
  }
}
