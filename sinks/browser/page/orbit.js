// The camera of the 3D view: turns about a target. Angles in radians; azimuth 0 looks along y.

const FOV = 0.75;
const NEAR_M = 0.15;
const MIN_M = 0.8;
const MAX_M = 60;
const EASE_MS = 280;

export class Orbit {
  constructor() {
    this.base = 0; // azimuth of the front view
    this.values = { azimuth: 0.5, elevation: 0.22, distance: 5.5, x: 0, y: 3, z: 0.9 };
    this.version = 0;
    this.goal = null;
  }

  set(values) {
    this.goal = null;
    Object.assign(this.values, values);
    const v = this.values;
    v.elevation = Math.min(Math.PI / 2, Math.max(-0.2, v.elevation));
    v.distance = Math.min(MAX_M, Math.max(MIN_M, v.distance));
    this.version++;
  }

  turn(dx, dy) {
    this.set({ azimuth: this.values.azimuth + dx, elevation: this.values.elevation + dy });
  }

  zoom(factor) {
    this.set({ distance: this.values.distance * factor });
  }

  // Moves the target in the image plane, by pixels.
  pan(dx, dy, height) {
    const v = this.values;
    const { right, up } = this.axes();
    const scale = (2 * v.distance * Math.tan(FOV / 2)) / height;
    this.set({
      x: v.x - scale * (dx * right[0] - dy * up[0]),
      y: v.y - scale * (dx * right[1] - dy * up[1]),
      z: v.z - scale * (dx * right[2] - dy * up[2]),
    });
  }

  easeTo(values, now) {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.set(values);
    const from = { ...this.values };
    if (values.azimuth !== undefined) {
      const turn = values.azimuth - from.azimuth;
      values.azimuth = from.azimuth + turn - 2 * Math.PI * Math.round(turn / (2 * Math.PI));
    }
    this.goal = { from, to: { ...from, ...values }, start: now };
  }

  step(now) {
    const goal = this.goal;
    if (!goal) return;
    const part = Math.min(1, (now - goal.start) / EASE_MS);
    const share = part * part * (3 - 2 * part);
    const values = {};
    for (const key in goal.to) values[key] = goal.from[key] + share * (goal.to[key] - goal.from[key]);
    this.set(values);
    if (part < 1) this.goal = goal;
  }

  look(name, now) {
    const view = { front: [0, 0.06], side: [Math.PI / 2, 0.06], top: [0, Math.PI / 2] }[name];
    this.easeTo({ azimuth: this.base + view[0], elevation: view[1] }, now);
  }

  axes() {
    const { azimuth, elevation } = this.values;
    const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
    return { right: [ca, -sa, 0], up: [sa * se, ca * se, ce], ahead: [sa * ce, ca * ce, -se] };
  }

  // A function object that projects points into a rectangle of the canvas.
  projection(rect, target) {
    const v = target ?? this.values;
    const { right, up, ahead } = this.axes();
    const distance = target?.distance ?? this.values.distance;
    const eye = [v.x - distance * ahead[0], v.y - distance * ahead[1], v.z - distance * ahead[2]];
    const focal = Math.min(rect.height, rect.width * 1.15) / (2 * Math.tan(FOV / 2));
    return new Projection(right, up, ahead, eye, focal, rect);
  }
}

class Projection {
  constructor(right, up, ahead, eye, focal, rect) {
    Object.assign(this, { right, up, ahead, eye, focal, rect });
    this.cx = rect.x + rect.width / 2;
    this.cy = rect.y + rect.height / 2;
  }

  // Distance along the line of sight.
  depth(x, y, z) {
    const { ahead, eye } = this;
    return (x - eye[0]) * ahead[0] + (y - eye[1]) * ahead[1] + (z - eye[2]) * ahead[2];
  }

  // [x, y, depth] in canvas pixels; null behind the near plane.
  point(x, y, z) {
    const { right, up, eye } = this;
    const depth = this.depth(x, y, z);
    if (!(depth > NEAR_M)) return null;
    const [dx, dy, dz] = [x - eye[0], y - eye[1], z - eye[2]];
    const scale = this.focal / depth;
    return [
      this.cx + scale * (dx * right[0] + dy * right[1] + dz * right[2]),
      this.cy - scale * (dx * up[0] + dy * up[1] + dz * up[2]),
      depth,
    ];
  }

  // Both ends of a line, cut at the near plane; null when all of it lies behind.
  line(a, b) {
    const [da, db] = [this.depth(...a) - NEAR_M, this.depth(...b) - NEAR_M];
    if (da <= 0 && db <= 0) return null;
    const cut = (from, to, share) => from.map((value, n) => value + share * (to[n] - value));
    const start = da > 0 ? a : cut(a, b, (da - 1e-3) / (da - db));
    const end = db > 0 ? b : cut(b, a, (db - 1e-3) / (db - da));
    const [p, q] = [this.point(...start), this.point(...end)];
    return p && q ? [p, q] : null;
  }
}
