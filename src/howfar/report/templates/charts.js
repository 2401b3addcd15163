// The charts' data are gzipped JSON in base64: a page of thousands of runs stays small.
const packed = Uint8Array.from(atob(document.getElementById("charts").textContent), letter => letter.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const ready = new Response(unpacked).json();
const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
const show = (node, more) => ready.then(charts => {
  const {data, layout} = charts[node.id];
  return Plotly.newPlot(node, data, {...layout, font: {...layout.font, color: ink()}}, more);
});
const draw = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    draw.unobserve(entry.target);
    show(entry.target, {responsive: true, displaylogo: false});
  }
}, {rootMargin: "600px"});
document.querySelectorAll(".chart").forEach(node => draw.observe(node));
window.addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(node => {
  if (!node.data) show(node, {});
}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const node of document.querySelectorAll(".chart")) if (node.data) Plotly.relayout(node, {"font.color": ink()});
});
