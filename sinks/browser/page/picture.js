// The camera's pictures behind the keypoints: requests them while they are in view, and keeps the newest ones.

const KEPT = 8;
const STALE_MS = 2000;
const EARLY_MS = 1000; // poses this much older than the picture are not of the same scene

export class Pictures {
  // place: the element that shows them.
  constructor(connection, place) {
    this.connection = connection;
    this.on = false; // whether the server shows pictures
    this.inView = true;
    this.watched = null;
    this.pictures = []; // {t, image, arrived} of the watched source, oldest first
    new IntersectionObserver(([entry]) => (this.inView = entry.isIntersecting)).observe(place);
  }

  // name: the source whose keypoints are shown; null while none are.
  watch(name) {
    const wanted = this.on && this.inView && document.visibilityState === "visible" ? name : null;
    if (wanted === this.watched) return;
    this.watched = wanted;
    this.drop(this.pictures.length);
    this.resume();
  }

  // A new connection must request again.
  resume() {
    if (this.on) this.connection.send({ type: "watch", source: this.watched });
  }

  async receive(picture, data) {
    const image = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    if (picture.source !== this.watched) return image.close();
    this.pictures.push({ t: picture.t_capture_ns / 1e6, image, arrived: performance.now() });
    this.drop(this.pictures.length - KEPT);
  }

  drop(count) {
    for (const { image } of this.pictures.splice(0, Math.max(0, count))) image.close();
  }

  // The picture to show with the poses captured at t: of the same time or earlier; the newest without such poses.
  at(t, now) {
    const newest = this.pictures[this.pictures.length - 1];
    if (!newest || now - newest.arrived > STALE_MS) return null;
    if (t === null || newest.t - t > EARLY_MS) return newest;
    return this.pictures.findLast((picture) => picture.t <= t) ?? null;
  }
}
