// Received frames: a ring per source, in display axes (metres, x right, y ahead, z up).

import { Slots } from "./slots.js";

export const KEPT_MS = 30_000;
export const STAGES = ["capture", "detect", "queue", "lift", "post"];
export const STALE_MS = 1000;
const ALIVE_MS = 2600; // metas come every second
const RATE_MS = 2000;
const ANKLE_M = 0.085;
const MAX_SOURCES = 64;
const MAX_IDS = 500;

export const isOptical = (frameId) => frameId === "" || frameId.endsWith("_optical_frame");

function byName(meta) {
  const joints = meta?.joints ?? [];
  const parents = meta?.parents ?? [];
  const index = (name) => joints.indexOf(name);
  return {
    joints,
    parents,
    bones: parents.map((parent, joint) => [joint, parent]).filter(([, parent]) => parent >= 0),
    right: new Set((meta?.flip_pairs ?? []).map(([, right]) => right)),
    ankles: [index("left_ankle"), index("right_ankle")],
    torso: ["left_shoulder", "right_shoulder", "right_hip", "left_hip"].map(index),
    head: [index("neck_nose"), index("head_top")],
  };
}

export class Source {
  // worlds: the slots of the people in each space, by frame id; shared by all sources.
  constructor(name, worlds) {
    this.name = name;
    this.worlds = worlds;
    this.view = null; // where its view in the wall looks
    this.meta = null;
    this.skeleton = byName(null);
    this.frames = [];
    this.aliveAt = -Infinity;
    this.floors = new Map();
    this.roots = new Map();
  }

  describe(meta, now) {
    this.aliveAt = now;
    if (this.meta && JSON.stringify(meta) === JSON.stringify(this.meta)) return;
    this.meta = meta;
    this.skeleton = byName(meta);
  }

  get newest() {
    return this.frames[this.frames.length - 1];
  }

  add(doc, now, offset_ms) {
    const t = doc.t_capture_ns / 1e6;
    if (this.frames.length && (t < this.newest.t - 1000 || doc.session !== this.newest.session)) this.reset();
    const optical = isOptical(doc.frame_id);
    const slots = this.slotsOf(doc);
    const frame = {
      t, arrived: now, seq: doc.seq, session: doc.session, optical, age: now + offset_ms - t, mode: doc.mode,
      lat: STAGES.map((stage) => doc.lat_ms[stage]), hop: doc.hop, lag: doc.lag, dropped: doc.dropped,
      persons: doc.persons.map((person, n) => this.person(person, optical, slots[n])),
    };
    frame.floor = frame.persons.reduce((sum, { floor }) => sum + floor, 0) / Math.max(1, frame.persons.length);
    this.frames.push(frame);
    this.aliveAt = now;
    let old = 0;
    while (this.frames[old].t < t - KEPT_MS) old++;
    if (old) this.frames.splice(0, old);
  }

  reset() {
    this.frames = [];
    this.floors.clear();
    this.roots.clear();
  }

  slotsOf(doc) {
    const world = isOptical(doc.frame_id) ? this.name : doc.frame_id;
    if (!this.worlds.has(world)) this.worlds.set(world, new Slots());
    return this.worlds.get(world).assign(this.name, doc.persons.map(({ id }) => id));
  }

  person(person, optical, slot) {
    let root = person.root.pos;
    if (root) {
      if (this.roots.size > MAX_IDS) this.roots.clear();
      this.roots.set(person.id, root);
    } else root = this.roots.get(person.id) ?? null;
    const placed = root !== null;
    root ??= [1.2 * slot, 0, 0]; // no position is known: people stand side by side
    const at = new Float32Array(3 * person.xyz.length);
    person.xyz.forEach(([x, y, z], joint) => {
      if (x === null) return at.fill(NaN, 3 * joint, 3 * joint + 3);
      at.set(optical ? [x + root[0], z + root[2], -y - root[1]] : [x + root[0], y + root[1], z + root[2]], 3 * joint);
    });
    const floor = optical ? this.floorOf(person.id, at) : 0;
    for (let n = 2; floor !== 0 && n < at.length; n += 3) at[n] -= floor;
    return {
      id: person.id, slot, floor, state: person.state, score: person.score, at, placed,
      conf: Float32Array.from(person.conf), origin: Uint8Array.from(person.origin),
      root: optical ? [root[0], root[2], -root[1]] : root, rootStatus: person.root.status,
      contact: person.contact ?? null,
      kp2d: person.kp2d ? Float32Array.from(person.kp2d.flat(), (value) => value ?? NaN) : null,
    };
  }

  // In a camera's axes no floor is known, and the camera may be tilted: every person is put on the grid by
  // the lowest joint of the last seconds. Returns by how much the person is lowered.
  floorOf(id, at) {
    let low = Infinity;
    for (let n = 2; n < at.length; n += 3) if (at[n] < low) low = at[n];
    const before = this.floors.get(id);
    if (low === Infinity) return before ?? 0;
    low -= ANKLE_M;
    const floor = before === undefined ? low : before + (low - before) * (low < before ? 0.2 : 0.01);
    if (this.floors.size > MAX_IDS) this.floors.clear();
    this.floors.set(id, floor);
    return floor;
  }

  // "empty": the sender is there, but no person is in sight.
  health(now) {
    const newest = this.newest;
    if (newest && now - newest.arrived < STALE_MS) {
      return newest.persons.some(({ state }) => state !== "lost") ? "live" : "empty";
    }
    const alive = now - this.aliveAt < ALIVE_MS;
    if (alive && (!newest || newest.persons.every(({ state }) => state === "lost"))) return "empty";
    return "stale";
  }

  recent(now) {
    let n = this.frames.length;
    while (n > 0 && this.frames[n - 1].arrived > now - RATE_MS) n--;
    return this.frames.slice(n);
  }

  // Median age on arrival over the last seconds.
  age(now) {
    const ages = this.recent(now).map(({ age }) => age).sort((a, b) => a - b);
    return ages[ages.length >> 1] ?? 0;
  }

  rate(now) {
    const recent = this.recent(now);
    if (recent.length < 2) return recent.length / (RATE_MS / 1000);
    // Frames come in bursts of `hop`; their own times give the true rate.
    const span = recent[recent.length - 1].t - recent[0].t;
    return span > 0 ? (1000 * (recent.length - 1)) / span : 0;
  }

  // The frame to show now: bursts are spread over their own times, at the cost of the longest recent wait.
  liveFrame(now) {
    const frames = this.frames;
    const newest = this.newest;
    if (!newest) return null;
    let offset = -Infinity;
    for (let n = frames.length - 1; n >= 0 && frames[n].arrived > now - 2000; n--) {
      offset = Math.max(offset, frames[n].arrived - frames[n].t);
    }
    const t = now - offset;
    if (!(t < newest.t) || t < newest.t - 1000) return newest;
    return frameAt(frames, t);
  }
}

// Index of the newest frame that is not newer than t; 0 when all are, -1 without frames.
export function indexAt(frames, t) {
  let low = 0;
  let high = frames.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (frames[middle].t <= t) low = middle;
    else high = middle - 1;
  }
  return frames.length ? low : -1;
}

export const frameAt = (frames, t) => frames[indexAt(frames, t)] ?? null;

export class Store {
  constructor() {
    this.sources = new Map();
    this.worlds = new Map();
    this.status = null;
  }

  source(name) {
    if (!this.sources.has(name) && this.sources.size < MAX_SOURCES) {
      this.sources.set(name, new Source(name, this.worlds));
    }
    return this.sources.get(name);
  }

  receive(doc, now, offset_ms) {
    if (doc.schema === "pose3d") this.source(doc.source)?.add(doc, now, offset_ms);
    else if (doc.schema === "meta") this.source(doc.source)?.describe(doc, now);
    else if (doc.schema === "status") this.status = { report: doc.report, arrived: now };
  }
}
