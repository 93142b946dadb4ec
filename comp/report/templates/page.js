"use strict";
// A click on a heading of a sortable table sorts its rows by that column; another click the other way round.
const valueOf = (row, column) => {
  const text = row.children[column].firstChild ? row.children[column].firstChild.textContent.trim() : "";
  const number = parseFloat(text.replace(/[,%]/g, ""));
  return Number.isNaN(number) ? text : number;
};
for (const heading of document.querySelectorAll(".sortable thead th")) {
  heading.addEventListener("click", () => {
    const column = heading.cellIndex, body = heading.closest("table").tBodies[0];
    const sign = heading.getAttribute("aria-sort") === "descending" ? 1 : -1;
    for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => {
      const x = valueOf(a, column), y = valueOf(b, column);
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
    });
    body.append(...rows);
  });
}
