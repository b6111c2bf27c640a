// Colours for canvases, from the style sheet. People's colours are those of Okabe and Ito, which can be told apart
// with any colour vision; against a light background a slate and a brown stand for their black and yellow.

const LIGHT = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#2f3a45", "#771100"];
const DARK = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#ffffff", "#0072b2"];
const STAGES_LIGHT = ["#5b6470", "#0072b2", "#e69f00", "#009e73", "#cc79a7"];
const STAGES_DARK = ["#ffffff", "#56b4e9", "#e69f00", "#009e73", "#cc79a7"];

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
