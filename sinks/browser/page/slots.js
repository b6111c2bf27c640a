// Which colour a person has: an id keeps its slot while the person is in sight, and afterwards as long as no new
// person needs it. People in sight have different slots, unless there are more of them than slots.

export const SLOTS = 8;
const MAX_IDS = 500;

// The slots of the people in one space: those of one camera, or of all cameras that share a world.
export class Slots {
  constructor() {
    this.byKey = new Map(); // those seen longest ago come first
    this.inSight = new Map(); // keys of the people in the newest frame, by source
  }

  // Slots of the people in a new frame of a source, in the order of their ids.
  assign(source, ids) {
    const keys = ids.map((id) => `${source} ${id}`);
    const before = this.inSight.get(source) ?? [];
    this.inSight.set(source, keys);
    const seen = new Set([...before, ...[...this.inSight.values()].flat()]);
    for (const key of keys) {
      const others = [...seen].filter((other) => other !== key && this.byKey.has(other));
      const taken = others.map((other) => this.byKey.get(other));
      const known = this.byKey.get(key);
      const keeps = known !== undefined && (before.includes(key) || !taken.includes(known));
      const slot = keeps ? known : this.free(taken);
      this.byKey.delete(key);
      this.byKey.set(key, slot);
    }
    while (this.byKey.size > MAX_IDS) this.byKey.delete(this.byKey.keys().next().value);
    return keys.map((key) => this.byKey.get(key));
  }

  // The slot that fewest people in sight have; of several, the one unused for longest.
  free(taken) {
    const lastUsed = new Array(SLOTS).fill(-1);
    [...this.byKey.values()].forEach((slot, order) => (lastUsed[slot] = order));
    const users = new Array(SLOTS).fill(0);
    for (const slot of taken) users[slot]++;
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
    return slots.sort((a, b) => users[a] - users[b] || lastUsed[a] - lastUsed[b] || a - b)[0];
  }
}
