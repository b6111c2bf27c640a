// Mouse, touch and keys of the 3D view.

const TURN_PER_PX = 0.006;
const KEY_TURN = 0.09;
const KEY_PAN_PX = 30;
const TAP_PX = 5;

// on: {moved() after a zoom or a pan, pointed(x, y) or pointed(null), tapped(x, y), key(event)}
export function listen(canvas, orbit, on) {
  const pointers = new Map();
  let moved = 0;
  const height = () => canvas.clientHeight;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const last = pointers.get(event.pointerId);
    if (!last) return on.pointed(x, y);
    const [dx, dy] = [x - last[0], y - last[1]];
    moved += Math.abs(dx) + Math.abs(dy);
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(last[0] - other[0], last[1] - other[1]);
      const after = Math.hypot(x - other[0], y - other[1]);
      orbit.zoom(before / Math.max(after, 1));
      orbit.pan(dx / 2, dy / 2, height());
      on.moved();
    } else if (event.buttons & 2 || event.shiftKey) {
      orbit.pan(dx, dy, height());
      on.moved();
    } else orbit.turn(-dx * TURN_PER_PX, dy * TURN_PER_PX);
    pointers.set(event.pointerId, [x, y]);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => {
      if (pointers.delete(event.pointerId) && name === "pointerup" && moved < TAP_PX) on.tapped(...at(event));
    });
  }
  canvas.addEventListener("pointerleave", () => on.pointed(null));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    orbit.zoom(Math.exp(event.deltaY * 0.0012));
    on.moved();
  }, { passive: false });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=range])")) return;
    if (document.querySelector("dialog[open]")) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (arrows && event.target.id !== "scrub") {
      if (event.shiftKey) orbit.pan(-KEY_PAN_PX * arrows[0], KEY_PAN_PX * arrows[1], height());
      else orbit.turn(KEY_TURN * arrows[0], KEY_TURN * arrows[1]);
      if (event.shiftKey) on.moved();
    } else if ("+=-".includes(event.key)) {
      orbit.zoom(event.key === "-" ? 1 / 0.9 : 0.9);
      on.moved();
    } else if (!on.key(event)) return;
    event.preventDefault();
  });
}
