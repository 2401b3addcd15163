// Tables sort by a click or a key on a heading; one filter serves the rows of all of them.
const tables = [...document.querySelectorAll("table.sortable")];
const value = text => {
  const found = /^[≤≥\s]*(∞|-?\d+(?:\.\d+)?)/.exec(text);
  return found ? (found[1] === "∞" ? Infinity : Number(found[1])) : NaN;
};
const compare = (x, y, named) => {
  const [a, b] = [value(x), value(y)];
  return named || isNaN(a) || isNaN(b) ? x.localeCompare(y) : a === b ? 0 : a - b;
};
for (const table of tables) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map(row => [row.children[column].textContent, row]);
    const known = rows.filter(([text]) => !text.startsWith("–"));
    known.sort(([x], [y]) => (up ? 1 : -1) * compare(x, y, column === 0));
    const unknown = rows.filter(([text]) => text.startsWith("–"));  // stays below, either way
    table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
  }));
}
const filter = document.getElementById("filter");
const entries = [];  // what a row says, with what its table is about
filter.addEventListener("input", () => {
  if (!entries.length) for (const table of tables) for (const row of table.tBodies[0].rows) {
    entries.push([`${table.parentElement.getAttribute("aria-label")} ${row.textContent}`.toLowerCase(), row]);
  }
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const [text, row] of entries) {
    row.hidden = !words.every(word => text.includes(word));
    shown += !row.hidden;
  }
  for (const block of document.querySelectorAll(".block")) {
    const rows = [...block.querySelectorAll("table.sortable tbody tr")];
    block.hidden = rows.length > 0 && rows.every(row => row.hidden);
  }
  document.getElementById("matches").value = words.length ? `${shown} of ${entries.length}` : "";
});
for (const slider of document.querySelectorAll("input[type=range]")) {
  slider.addEventListener("input", () => slider.previousElementSibling.style.setProperty("--share", `${slider.value}%`));
}
