// Tables sort by a click or a key on a heading; one filter serves all rows and the sentences below the verdict.
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
const entries = [];  // what a row says, with what its table is about; what a sentence says
const opened = new Set();  // folds that the filter opened
const unfolded = (node, remember) => {
  for (let fold = node.closest("details"); fold; fold = fold.parentElement.closest("details")) {
    if (!fold.open && remember) opened.add(fold);
    fold.open = true;
  }
};
filter.addEventListener("input", () => {
  if (!entries.length) {
    for (const table of tables) for (const row of table.tBodies[0].rows) {
      entries.push([`${table.parentElement.getAttribute("aria-label")} ${row.textContent}`.toLowerCase(), row]);
    }
    for (const node of document.querySelectorAll(".sentence")) entries.push([node.textContent.toLowerCase(), node]);
  }
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const fold of opened) fold.open = false;
  opened.clear();
  let shown = 0;
  for (const [text, node] of entries) {
    node.hidden = !words.every(word => text.includes(word));
    shown += !node.hidden;
    if (words.length && !node.hidden) unfolded(node, true);
  }
  for (const block of document.querySelectorAll(".block")) {
    const rows = [...block.querySelectorAll("table.sortable tbody tr")];
    block.hidden = rows.length > 0 && rows.every(row => row.hidden);
  }
  document.getElementById("matches").value = !words.length ? "" : shown ? `${shown} of ${entries.length}` : "nothing matches";
});
for (const slider of document.querySelectorAll("input[type=range]")) {
  slider.addEventListener("input", () => slider.previousElementSibling.style.setProperty("--share", `${slider.value}%`));
}
// A link to a place inside a fold opens it.
const reveal = () => {
  const node = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!node) return;
  if (node.tagName === "DETAILS") node.open = true;
  unfolded(node, false);
  node.scrollIntoView();
};
addEventListener("hashchange", reveal);
addEventListener("click", event => {  // the same link again, after its fold was closed
  const link = event.target.closest?.("a[href^='#']");
  if (link && link.getAttribute("href") === location.hash) reveal();
});
reveal();
const unfold = document.getElementById("unfold");
unfold?.addEventListener("click", () => {
  const open = unfold.textContent === "Open all";
  for (const fold of document.querySelectorAll("details.fold, details.inner")) fold.open = open;
  unfold.textContent = open ? "Close all" : "Open all";
});
// Tables and the picture can be saved; nothing leaves the page.
const save = (name, parts, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const button = (text, label, act) => {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = text;
  node.setAttribute("aria-label", label);
  node.addEventListener("click", act);
  return node;
};
const cells = table => [...table.rows].filter(row => !row.hidden).map(row => [...row.children].map(cell => cell.textContent.trim()));
const csv = rows => rows.map(row => row.map(text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text).join(",")).join("\n") + "\n";
const signs = LATEX;  // put in by Python, which escapes the same
const tex = text => [...text.replace(/(?<![\w.)-])-(?=\d)/g, "−")].map(sign => signs[sign] ?? sign).join("");
const latex = rows => {
  const lines = rows.map(row => `${row.map(tex).join(" & ")} \\\\`);
  return [`\\begin{tabular}{l${"r".repeat(rows[0].length - 1)}}`, "\\toprule", lines[0], "\\midrule", ...lines.slice(1),
    "\\bottomrule", "\\end{tabular}", ""].join("\n");
};
for (const table of document.querySelectorAll(".grid table")) {
  const grid = table.closest(".grid"), label = table.parentElement.getAttribute("aria-label");
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(
    button("CSV", `Save as CSV: ${label}`, () => save(`${grid.id}.csv`, [csv(cells(table))], "text/csv")),
    button("LaTeX", `Save as LaTeX: ${label}`, () => save(`${grid.id}.tex`, [latex(cells(table))], "text/x-tex")));
  grid.append(tools);
}
const drawing = document.querySelector("svg.overview");
if (drawing) {
  const source = ink => {
    const copy = drawing.cloneNode(true);
    copy.setAttribute("color", ink);
    return new XMLSerializer().serializeToString(copy);
  };
  const png = () => {
    const image = new Image(), {width, height} = drawing.viewBox.baseVal;
    image.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), {width: 3 * width, height: 3 * height});
      const ground = canvas.getContext("2d");
      ground.fillStyle = "#fff";
      ground.fillRect(0, 0, canvas.width, canvas.height);
      ground.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob(blob => save("verdicts.png", [blob], "image/png"));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source("#1b1f24"))}`;
  };
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(button("SVG", "Save the picture as SVG", () => save("verdicts.svg", [source("#1b1f24")], "image/svg+xml")),
    button("PNG", "Save the picture as PNG", png));
  drawing.closest("figure").append(tools);
}
// Two rows that are checked stand side by side.
const panel = document.getElementById("compare");
if (panel) {
  let chosen = [];
  const node = (tag, text, set = {}) => Object.assign(document.createElement(tag), {textContent: text}, set);
  const about = row => {
    const table = row.closest("table");
    return new Map([["table", table.parentElement.getAttribute("aria-label")],
      ...[...table.tHead.rows[0].cells].map((head, place) => [head.textContent, row.cells[place].textContent.trim()])]);
  };
  const show = () => {
    panel.hidden = !chosen.length;
    panel.replaceChildren();
    if (!chosen.length) return;
    panel.append(node("h2", chosen.length < 2 ? "Check a second row to compare" : "Two rows side by side"),
      button("Close", "Close the comparison", () => { chosen.forEach(row => row.querySelector("input").checked = false); chosen = []; show(); }));
    const found = chosen.map(about), names = [...new Set(found.flatMap(map => [...map.keys()]))];
    const table = document.createElement("table"), body = table.createTBody();
    for (const name of names) {
      const line = body.insertRow(), texts = found.map(map => map.get(name) ?? "–");
      line.append(Object.assign(node("th", name), {scope: "row"}), ...texts.map(text => node("td", text)));
      line.classList.toggle("differs", texts.length > 1 && texts[0] !== texts[1]);
    }
    panel.append(table);
  };
  for (const table of tables) for (const row of table.tBodies[0].rows) {
    const box = node("input", "", {type: "checkbox"});
    box.setAttribute("aria-label", `Compare ${row.cells[0].textContent.trim()}`);
    box.addEventListener("change", () => {
      if (box.checked) chosen.push(row); else chosen = chosen.filter(other => other !== row);
      if (chosen.length > 2) chosen.shift().querySelector("input").checked = false;
      show();
    });
    row.cells[0].prepend(box);
  }
}
