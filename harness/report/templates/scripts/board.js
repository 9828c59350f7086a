// The board: sorting, which columns are shown, differences to base.
(() => {
  const table = document.getElementById("leaderboard");
  const scroller = table.closest(".scroll");
  const toolbar = document.getElementById("board-toolbar");
  const difference = toolbar.querySelector("[name=difference]");
  const boxes = [...toolbar.querySelectorAll("[name=column]")];
  const heads = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies[0].rows];
  const places = new Map(heads.map((head, place) => [head.dataset.column, place]));
  const byDefault = boxes.filter((box) => box.checked).map((box) => box.value);
  const SORT = "rank";

  // `rank`, or `-rank` for descending; what names no column is as if nothing were said.
  function sorting() {
    const told = view.get("sort") || SORT;
    const key = told.replace(/^-/, "");
    return places.has(key) ? [key, told === key ? 1 : -1] : [SORT, 1];
  }

  function sortBoard() {
    const [key, sign] = sorting();
    const place = places.get(key);
    heads.forEach((head, at) =>
      head.setAttribute("aria-sort", at !== place ? "none" : sign > 0 ? "ascending" : "descending"));
    const kinds = { base: 0, ok: 1, failed: 2 };
    const rows = [...original].sort((a, b) =>
      kinds[a.dataset.kind] - kinds[b.dataset.kind] || compareCells(a.cells[place], b.cells[place], sign));
    table.tBodies[0].append(...rows);
  }

  // Numbers by size, names by alphabet; what is missing comes last either way.
  function compareCells(a, b, sign) {
    const [x, y] = [a, b].map((cell) => (cell ? cell.dataset.value || "" : ""));
    if (x === "" || y === "") return (x === "") - (y === "");
    const apart = Number(x) - Number(y);
    return sign * (Number.isNaN(apart) ? x.localeCompare(y) : apart);
  }

  function chosen() {
    const told = new Set(view.get("columns").split(","));
    const known = boxes.map((box) => box.value).filter((key) => told.has(key));
    return new Set(known.length ? known : byDefault);
  }

  function showColumns() {
    const shown = chosen();
    boxes.forEach((box) => {
      box.checked = shown.has(box.value);
      // The last one stays: a board without figures says nothing.
      box.disabled = box.checked && shown.size === 1;
      const place = places.get(box.value);
      heads[place].hidden = !box.checked;
      original.forEach((row) => {
        if (row.dataset.kind !== "failed") row.cells[place].hidden = !box.checked;
      });
    });
    table.querySelectorAll(".failure").forEach((cell) => { cell.colSpan = Math.max(shown.size, 1); });
    table.classList.add("chosen");
    const count = toolbar.querySelector(".count");
    if (count) count.textContent = `${shown.size} of ${boxes.length}`;
  }

  function choose(keys) {
    const plain = keys.length === byDefault.length && keys.every((key) => byDefault.includes(key));
    view.set({ columns: plain ? null : keys.join(",") }, "board");
    showColumns();
    fit();
  }

  // A board that fits needs no box of its own to scroll in, and its head can stay at the window's edge.
  function fit() {
    scroller.classList.toggle("fits", table.offsetWidth <= scroller.parentElement.clientWidth);
  }

  function show() {
    sortBoard();
    showColumns();
    difference.checked = view.get("difference") === "1";
    table.classList.toggle("differences", difference.checked);
    fit();
  }

  heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
    const [key, sign] = sorting();
    const first = head.dataset.first === "descending" ? -1 : 1;
    const next = key === head.dataset.column && sign === first ? -first : first;
    const told = (next < 0 ? "-" : "") + head.dataset.column;
    view.set({ sort: told === SORT ? null : told }, "board");
    sortBoard();
  }));
  boxes.forEach((box) => box.addEventListener("change", () =>
    choose(boxes.filter((one) => one.checked).map((one) => one.value))));
  toolbar.querySelector("button")?.addEventListener("click", () => choose(byDefault));
  difference.addEventListener("change", () => {
    view.set({ difference: difference.checked ? "1" : null }, "board");
    show();
  });
  // A list that lies over the board goes away by Escape, and by a click beside it.
  const chooser = toolbar.querySelector(".chooser");
  chooser?.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    chooser.open = false;
    chooser.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (chooser?.open && !chooser.contains(event.target)) chooser.open = false;
  });
  window.addEventListener("resize", fit);
  window.addEventListener("load", fit);
  view.onChange(show);
  toolbar.hidden = false;
  show();
})();
