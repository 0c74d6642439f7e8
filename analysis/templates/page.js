"use strict";

// Sorting: a button in every heading; a third press restores the order of the plan.
const key = (row, column) => {
  const cell = row.cells[column];
  const value = Number(cell.dataset.value ?? NaN);
  return cell.dataset.value === "inf" ? Infinity : Number.isNaN(value) ? cell.textContent.trim() : value;
};
const order = (a, b, sign) => {
  const numbers = [a, b].map((value) => typeof value === "number");
  if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1; // what is missing stays last either way
  return sign * (numbers[0] ? (a < b ? -1 : a > b ? 1 : 0) : a.localeCompare(b, "en", { numeric: true }));
};
const next = { none: "ascending", ascending: "descending", descending: "none" };

const makeSortable = (table, planned) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = next[head.getAttribute("aria-sort") ?? "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (way !== "none") head.setAttribute("aria-sort", way);
      const sign = way === "descending" ? -1 : 1;
      const keyed = planned.map((row) => [key(row, column), row]);
      if (way !== "none") keyed.sort((a, b) => order(a[0], b[0], sign));
      table.tBodies[0].append(...keyed.map((pair) => pair[1]));
    });
  });
};

// Filtering: rows that hold every word stay; the count is read out.
const FEW_ROWS = 5;
const makeFilterable = (table, rows) => {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "search", autocomplete: "off" });
  const said = document.createElement("output");
  const bar = Object.assign(document.createElement("div"), { className: "filter" });
  input.setAttribute("aria-describedby", table.caption.id);
  label.append("Filter rows ", input);
  bar.append(label, said);
  table.closest(".scroll").before(bar);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, place) => { row.hidden = !words.every((word) => texts[place].includes(word)); });
    const shown = rows.filter((row) => !row.hidden).length;
    said.textContent = words.length ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
  };
  input.addEventListener("input", apply);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    input.value = "";
    apply();
  });
  table.addEventListener("show-all", () => { input.value = ""; apply(); });
  apply();
};

for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  makeSortable(table, rows);
  if (rows.length > FEW_ROWS) makeFilterable(table, rows);
}

// A link to an arm leads to its row, filtered out or not, and opens it.
const openTarget = () => {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (row?.tagName !== "TR") return;
  if (row.hidden) row.closest("table").dispatchEvent(new Event("show-all"));
  const details = row.querySelector("details");
  if (!details) return;
  details.open = true;
  details.querySelector("summary").focus();
  row.scrollIntoView({ block: "center" });
};
addEventListener("hashchange", openTarget);
openTarget();

// What does not overflow needs no stop on the way of the Tab key.
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
document.querySelectorAll(".scroll, .picture").forEach((box) => boxes.observe(box));

// Light or dark: as the system says until the button is pressed.
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const toggle = Object.assign(document.createElement("button"), { type: "button", className: "theme" });
const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const name = () => { toggle.textContent = isDark() ? "Light page" : "Dark page"; };
toggle.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
system.addEventListener("change", name);
name();
document.querySelector(".bar").append(toggle);
