"use strict";
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
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => order(key(a, column), key(b, column), falling ? -1 : 1));
      table.tBodies[0].append(...rows);
    });
  });
}
