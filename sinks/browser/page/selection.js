// Which sources are shown: one, all as a wall, or those that share a world in one view.

import { isOptical } from "./store.js";

export const WALL = "\u0000wall";
const WORLD = "\u0000world";
const LABELS = { [WALL]: "All cameras", [WORLD]: "Together" };
const MAX_VIEWS = 16;

export class Selection {
  constructor(store, list, onChange) {
    Object.assign(this, { store, list, onChange });
    this.name = null;
  }

  get isWall() {
    return this.name === WALL;
  }

  select(name) {
    this.name = name;
    this.onChange();
  }

  // Names of the sources that share a world with others.
  shared() {
    const worlds = new Map();
    for (const { name, meta } of this.store.sources.values()) {
      if (meta && !isOptical(meta.frame_id)) worlds.set(meta.frame_id, [...(worlds.get(meta.frame_id) ?? []), name]);
    }
    return [...worlds.values()].find((names) => names.length > 1) ?? [];
  }

  names() {
    const names = [...this.store.sources.keys()].sort();
    if (names.length < 2) return names;
    return [WALL, ...(this.shared().length ? [WORLD] : []), ...names];
  }

  // The shown sources.
  sources() {
    let names = [this.name];
    if (this.name === WALL) names = [...this.store.sources.keys()].sort().slice(0, MAX_VIEWS);
    else if (this.name === WORLD) names = this.shared();
    return names.map((name) => this.store.sources.get(name)).filter(Boolean);
  }

  cycle(step) {
    const names = this.names();
    if (names.length) this.select(names[(names.indexOf(this.name) + step + names.length) % names.length]);
  }

  show(now) {
    const names = this.names();
    document.body.classList.toggle("wall", this.isWall);
    if (this.list.dataset.key !== names.join()) {
      this.list.dataset.key = names.join();
      this.list.replaceChildren(...names.map((name) => this.button(name)));
    }
    names.forEach((name, n) => {
      const button = this.list.children[n];
      const source = this.store.sources.get(name);
      if (name === this.name && button.getAttribute("aria-pressed") !== "true") button.scrollIntoView({ block: "nearest", inline: "nearest" });
      button.setAttribute("aria-pressed", String(name === this.name));
      if (source) button.dataset.health = source.health(now);
    });
  }

  button(name) {
    const button = document.createElement("button");
    if (!LABELS[name]) {
      const dot = document.createElement("span");
      dot.className = "dot";
      button.append(dot);
    }
    button.append(LABELS[name] ?? name);
    button.onclick = () => this.select(name);
    return button;
  }
}
