// Colours for canvases, from the style sheet; people's colours can be told apart with any colour vision.

const LIGHT = ["#0072b2", "#d98300", "#00805c", "#c9480b", "#2c8fc7", "#b0508a", "#8a7f00", "#5b6470"];
const DARK = ["#4aa3df", "#f2b134", "#2fc79a", "#ff8a5b", "#8fd3ff", "#e89ac7", "#e6dc5e", "#b9c0cc"];
const STAGES_LIGHT = ["#5b6470", "#0072b2", "#d98300", "#00805c", "#b0508a"];
const STAGES_DARK = ["#b9c0cc", "#4aa3df", "#f2b134", "#2fc79a", "#e89ac7"];

const dark = matchMedia("(prefers-color-scheme: dark)");
export let theme = read();

function read() {
  const style = getComputedStyle(document.documentElement);
  const names = ["page", "card", "line", "text", "soft", "accent", "warn", "contact", "floor", "shadow", "outline"];
  const values = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return {
    ...values,
    top: style.getPropertyValue("--scene-top").trim(),
    bottom: style.getPropertyValue("--scene-bottom").trim(),
    persons: (dark.matches ? DARK : LIGHT).map((colour) => ({ main: colour, right: mix(colour, "#000000", 0.3) })),
    grey: { main: "#8b959e", right: "#6d767e" },
    stages: dark.matches ? STAGES_DARK : STAGES_LIGHT,
  };
}

export function onThemeChange(callback) {
  dark.addEventListener("change", () => {
    theme = read();
    callback();
  });
}

function mix(first, second, share) {
  const parts = (colour) => [1, 3, 5].map((n) => parseInt(colour.slice(n, n + 2), 16));
  const [a, b] = [parts(first), parts(second)];
  return `rgb(${a.map((value, n) => Math.round(value + share * (b[n] - value))).join(" ")})`;
}

// Sizes a canvas to its place on the page; returns its context, scaled to CSS pixels, and its size. alpha: false
// for a canvas that is painted all over, which the browser composes faster.
export function fitted(canvas, alpha = true) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d", { alpha });
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}
