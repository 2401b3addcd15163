// Charts and the library that draws them are gzipped in base64, and unpacked when the first chart is seen: a page of
// thousands of runs stays small, and its first screen waits for nothing.
const unpacked = async id => {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
let known;
const ready = () => known ??= (async () => {
  const library = document.createElement("script");
  library.textContent = await unpacked("plotly");
  document.head.append(library);
  return JSON.parse(await unpacked("charts"));
})();
const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
const picture = (text, node, format) => button(text, `Save as ${text}: ${node.getAttribute("aria-label")}`, () =>
  Plotly.downloadImage(node, {format, filename: node.id, width: node.clientWidth, height: node.clientHeight, scale: format === "png" ? 3 : 1}));
const show = (node, more) => ready().then(charts => {
  const {data, layout} = charts[node.id];
  return Plotly.newPlot(node, data, {...layout, font: {...layout.font, color: ink()}}, more);
});
const started = new Set();
const once = async node => {
  if (started.has(node)) return;
  started.add(node);
  draw.unobserve(node);
  await show(node, {responsive: true, displaylogo: false});
};
const draw = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) once(entry.target);
}, {rootMargin: "600px"});
// The first charts of an opened section follow one at a time while the page is idle, so that none is blank when reached.
const AHEAD = 20;
const waiting = [];
const idle = window.requestIdleCallback ?? (work => setTimeout(work, 50));
let busy = false;
const next = () => {
  busy = waiting.length > 0;
  if (busy) once(waiting.shift()).finally(() => idle(next));
};
document.addEventListener("toggle", event => {
  if (!event.target.open) return;
  const charts = [...event.target.querySelectorAll(".chart")].filter(node => node.clientWidth && !started.has(node));
  waiting.push(...charts.slice(0, AHEAD));
  if (!busy) next();
}, true);
for (const node of document.querySelectorAll(".chart")) {
  draw.observe(node);
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(picture("SVG", node, "svg"), picture("PNG", node, "png"));
  node.closest("figure").append(tools);
}
window.addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(node => {
  if (!node.data && node.clientWidth) show(node, {});
}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const node of document.querySelectorAll(".chart")) if (node.data) Plotly.relayout(node, {"font.color": ink()});
});
