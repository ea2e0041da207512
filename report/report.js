// What the report's page does beside showing: tables that sort and filter, figures that open large. Without it, the
// page reads as it is.
"use strict";

// ------------------------------------------------------------------------------------------------- tables

const SIZES = { k: 1e3, M: 1e6, G: 1e9 };
const NUMBER = /^([<>≈~]?)\s*([+\-−–]?)(\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)(?:\s([kMG])(?!\w))?(?![\w/.-])/;
const MISSING = /^–?(?: \(.*\))?$/; // an empty cell, a dash, or as `– (0 of 5)`

// The number that a cell begins with: `1.2 M`, `≈ 3 %`, `-3.7 pp [-5.5, -1.8]`, `12.5 ± 6.3`, `0.3 s (5 of 5)`,
// `< 0.001` (just below it). NaN for words and for what only begins like a number, as `8x8` or a run's id.
function number(text) {
  const found = NUMBER.exec(text);
  if (!found) return NaN;
  const [, bound, sign, digits, size] = found;
  const value = Number(digits.replaceAll(",", "")) * (SIZES[size] ?? 1) * (sign && sign !== "+" ? -1 : 1);
  return bound === "<" ? value - Number.EPSILON : bound === ">" ? value + Number.EPSILON : value;
}

const text = (cell) => cell.textContent.replace(/\s+/g, " ").trim();

// Numbers by their size, before words, in which numbers count too: resnet-8 before resnet-20.
function compare(a, b) {
  const [first, second] = [number(a), number(b)];
  const words = Number.isNaN(first) - Number.isNaN(second);
  return words || (Number.isNaN(first) ? a.localeCompare(b, "en", { numeric: true }) : first - second);
}

// Sort a table's rows by the column of a header, in its direction, 1 or -1. Missing cells come last in both.
function sort(table, header, direction) {
  const column = header.cellIndex;
  const missing = (row) => MISSING.test(text(row.cells[column]));
  const rows = [...table.tBodies[0].rows].sort(
    (a, b) => missing(a) - missing(b) || direction * compare(text(a.cells[column]), text(b.cells[column])),
  );
  table.tBodies[0].append(...rows);
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
}

// A header that sorts by its column: upwards first, then the other way round.
function makeSortable(table, header) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    sort(table, header, header.getAttribute("aria-sort") === "ascending" ? -1 : 1);
  });
}

// A menu above a table that does the same, for narrow windows, where a row is a card and there are no headers.
function addMenu(table, before) {
  const label = document.createElement("label");
  const menu = document.createElement("select");
  label.className = "menu";
  label.append("Sort by ", menu);
  menu.add(new Option("–", ""));
  for (const header of table.tHead.rows[0].cells) {
    for (const [direction, arrow] of [[1, "↑"], [-1, "↓"]]) {
      menu.add(new Option(`${text(header)} ${arrow}`, direction * (header.cellIndex + 1)));
    }
  }
  before.before(label);
  menu.addEventListener("change", () => {
    const place = Number(menu.value);
    if (place) sort(table, table.tHead.rows[0].cells[Math.abs(place) - 1], Math.sign(place));
  });
}

// A box above a table that leaves the rows that hold every word typed.
function addFilter(table, before) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  label.className = "filter";
  input.type = "search";
  input.placeholder = "words in a row";
  label.append("Filter ", input, count);
  before.before(label);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const held = [...row.cells].map(text).join(" ").toLowerCase();
      row.hidden = !words.every((word) => held.includes(word));
    }
    count.value = input.value && `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
}

for (const table of document.querySelectorAll("main table")) {
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0; // scrolls by keyboard
  box.role = "region";
  box.ariaLabel = "Table";
  table.before(box);
  box.append(table);
  const names = [...table.tHead.rows[0].cells].map(text);
  for (const cell of table.tBodies[0].querySelectorAll("td")) {
    cell.classList.toggle("short", cell.textContent.length < 30); // stays on one line
    cell.dataset.name = names[cell.cellIndex]; // for narrow windows, where a row is a card
  }
  if (table.tBodies[0].rows.length > 1) addMenu(table, box);
  for (const header of table.tHead.rows[0].cells) makeSortable(table, header);
  if (table.tBodies[0].rows.length > 8) addFilter(table, box);
}

// ------------------------------------------------------------------------------------------------ figures

const dialog = document.createElement("dialog"); // Escape closes it by itself
document.body.append(dialog);
dialog.addEventListener("click", () => dialog.close());

for (const image of document.querySelectorAll("main figure img")) {
  const button = document.createElement("button");
  button.type = "button";
  button.title = "Open large";
  image.before(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = document.createElement("img");
    large.src = image.src;
    large.alt = image.alt;
    dialog.replaceChildren(large, image.alt);
    dialog.showModal();
  });
}

// --------------------------------------------------------------------------------------- contents, links

// The table of contents is folded where it stands above the text; as in style.css.
const contents = document.getElementById("contents");
const wide = matchMedia("(min-width: 72rem)");
const fold = () => { contents.open = wide.matches; };
wide.addEventListener("change", fold);
fold();

// A link into a folded list of runs opens it.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.closest("details");
  if (!folded) return;
  folded.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
