// The board: sorting.
(() => {
  const table = document.getElementById("leaderboard");
  const heads = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies[0].rows];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBoard(head, column));
  });

  function sortBoard(head, column) {
    const first = head.dataset.first || "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    const kinds = { base: 0, ok: 1, failed: 2 };
    const rows = [...original].sort((a, b) =>
      kinds[a.dataset.kind] - kinds[b.dataset.kind] || compareCells(a.cells[column], b.cells[column], sign));
    table.tBodies[0].append(...rows);
  }

  // Numbers by size, names by alphabet; what is missing comes last either way.
  function compareCells(a, b, sign) {
    const [x, y] = [a, b].map((cell) => (cell ? cell.dataset.value || "" : ""));
    if (x === "" || y === "") return (x === "") - (y === "");
    const difference = Number(x) - Number(y);
    return sign * (Number.isNaN(difference) ? x.localeCompare(y) : difference);
  }
})();
