// The time that is shown: live, or any time of the last 30 s while paused.

import { setText } from "./panels.js";
import { KEPT_MS, STALE_MS, frameAt, indexAt } from "./store.js";

const $ = (id) => document.getElementById(id);

export class Timeline {
  constructor(store, selection, onChange) {
    Object.assign(this, { store, selection, onChange });
    this.paused = null; // {t, end, frames: Map of source name to frames} while paused
    $("pause").onclick = () => this.toggle();
    $("live").onclick = () => this.goLive();
    $("scrub").oninput = () => this.scrub(Number($("scrub").value));
  }

  // Capture time of the newest frame of all sources; null without one.
  newestTime() {
    const times = [...this.store.sources.values()].filter(({ newest }) => newest).map(({ newest }) => newest.t);
    return times.length ? Math.max(...times) : null;
  }

  // The right end of the timeline; null before the first frame.
  end(now) {
    if (this.paused) return this.paused.end;
    const frames = this.selection.sources().map(({ newest }) => newest).filter(Boolean);
    if (!frames.length) return null;
    const newest = frames.reduce((best, frame) => (frame.t > best.t ? frame : best));
    return newest.t + Math.max(0, now - newest.arrived);
  }

  // What is shown of the selected sources: [{source, frame, frames, stale, t}].
  items(now) {
    return this.selection.sources().flatMap((source) => {
      const frames = this.paused ? this.paused.frames.get(source.name) ?? [] : source.frames;
      const frame = this.paused ? frameAt(frames, this.paused.t) : source.liveFrame(now);
      if (!frame) return [];
      if (this.paused) return [{ source, frame, frames, stale: false, t: this.paused.t }];
      // Time goes on after the newest frame, so that lost people fade even when no further frame comes.
      const t = frame === source.newest ? frame.t + now - frame.arrived : frame.t;
      return [{ source, frame, frames, stale: now - source.newest.arrived > STALE_MS, t }];
    });
  }

  pause(t) {
    if (!this.paused) {
      const end = this.end(performance.now());
      if (end === null) return;
      const frames = new Map([...this.store.sources].map(([name, source]) => [name, source.frames.slice()]));
      this.paused = { t: end, end, frames };
    }
    const { end } = this.paused;
    this.paused.t = Math.min(end, Math.max(end - KEPT_MS, t ?? this.paused.t));
    this.show();
  }

  goLive() {
    this.paused = null;
    this.show();
  }

  toggle() {
    if (this.paused) this.goLive();
    else this.pause();
  }

  scrub(seconds) {
    this.pause();
    if (this.paused) this.pause(this.paused.end + 1000 * seconds);
  }

  step(direction) {
    this.pause();
    const source = this.selection.sources()[0];
    const frames = source && this.paused?.frames.get(source.name);
    if (!frames?.length) return;
    const index = indexAt(frames, this.paused.t) + direction;
    this.pause(frames[Math.min(frames.length - 1, Math.max(0, index))].t);
  }

  show() {
    const { paused } = this;
    const seconds = paused ? (paused.t - paused.end) / 1000 : 0;
    $("pause").setAttribute("aria-pressed", String(paused !== null));
    $("pause").setAttribute("aria-label", paused ? "Go on" : "Pause");
    $("live").hidden = paused === null;
    $("scrub").value = seconds;
    setText($("time"), paused ? `${seconds.toFixed(2).replace("-", "−")} s` : "live");
    this.onChange();
  }
}
