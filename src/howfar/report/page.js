// The charts' data are gzipped JSON in base64: a page of thousands of runs stays small.
const packed = Uint8Array.from(atob(document.getElementById("charts").textContent), letter => letter.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const ready = new Response(unpacked).json();
const show = (node, more) => ready.then(charts => Plotly.newPlot(node, charts[node.id].data, charts[node.id].layout, more));
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
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = [...table.querySelectorAll("th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => row.children[column].dataset.key;
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y);
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  }));
});
