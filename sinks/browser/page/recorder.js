// Recording: marks an interval, which the server turns into a file to download.

const $ = (id) => document.getElementById(id);

export class Recorder {
  // newestTime(): capture time in Unix milliseconds; onChange: the interval changed.
  constructor(connection, newestTime, onChange) {
    this.connection = connection;
    this.newestTime = newestTime;
    this.onChange = onChange;
    this.interval = null; // {from, to: null while recording}
    this.waiting = null;
    $("record").onclick = () => this.toggle();
    $("last").onclick = () => this.keepLast();
    for (const button of document.querySelectorAll("#downloads button")) {
      button.onclick = () => this.download(button.dataset.format);
    }
  }

  get recording() {
    return this.interval !== null && this.interval.to === null;
  }

  toggle() {
    const now = this.newestTime();
    if (now === null) return this.note("There are no poses to record yet.");
    if (this.recording) this.interval.to = now;
    else this.interval = { from: now, to: null };
    this.changed();
  }

  keepLast() {
    const now = this.newestTime();
    if (now === null) return this.note("There are no poses to save yet.");
    this.interval = { from: now - 30_000, to: now };
    this.changed();
  }

  changed() {
    this.note("");
    this.resume();
    this.show();
    this.onChange();
  }

  // A new connection must request again that frames are kept.
  resume() {
    if (this.interval) this.connection.send({ type: "keep", from_ms: this.interval.from });
  }

  show() {
    const { recording, interval } = this;
    $("record").setAttribute("aria-pressed", String(recording));
    const seconds = interval ? ((interval.to ?? this.newestTime() ?? interval.from) - interval.from) / 1000 : 0;
    const text = recording ? `Stop ${seconds.toFixed(0)} s` : "Record";
    if ($("record-text").textContent !== text) $("record-text").textContent = text;
    $("downloads").hidden = interval === null || recording;
    if (interval && !recording) $("interval").textContent = `${seconds.toFixed(1)} s`;
  }

  note(text) {
    $("recording-note").textContent = text;
    $("recording-note").hidden = !text;
  }

  download(format) {
    this.note(`Preparing ${format.toUpperCase()} …`);
    this.connection.send({ type: "export", format, from_ms: this.interval.from, to_ms: this.interval.to });
  }

  receive(file, data) {
    if (!data) return this.note(`${file.format.toUpperCase()}: ${file.error}.`);
    const link = document.createElement("a");
    const time = new Date(this.interval?.from ?? Date.now()).toISOString().slice(0, 19).replaceAll(":", "");
    link.href = URL.createObjectURL(new Blob([data]));
    link.download = `poselift-${time}${file.suffix === ".zip" ? `-${file.format}` : ""}${file.suffix}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    this.note(`Saved ${link.download} (${(data.byteLength / 1e6).toFixed(1)} MB).`);
  }
}
