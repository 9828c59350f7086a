"use strict";
// Everything that models wrote is set as textContent. Nothing is sent: progress lies in localStorage, labels leave
// as a download.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pairs = data.pairs;
  const place = "sft-harness labels " + data.page;
  const find = (id) => document.getElementById(id);
  const keys = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 0: "tie", t: "tie", T: "tie" };
  // decided: pair -> {choice: left | right | tie | skip, at}. saved: how the labels were when last saved.
  const state = { name: "", decided: {}, saved: "" };
  let index = 0;

  function restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(place) || "{}");
      if (typeof kept.name === "string") state.name = kept.name;
      if (typeof kept.saved === "string") state.saved = kept.saved;
      for (const pair of pairs) {
        const entry = (kept.decided || {})[pair.pair];
        if (entry && ["left", "right", "tie", "skip"].includes(entry.choice)) state.decided[pair.pair] = entry;
      }
    } catch {
      warn("This browser keeps nothing: save the labels before you close the page.");
    }
  }

  function keep() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      warn("This browser keeps nothing: save the labels before you close the page.");
    }
  }

  function warn(text) {
    find("trouble").firstElementChild.textContent = text;
    find("trouble").hidden = !text;
  }

  function labels() {
    return pairs.flatMap((pair) => {
      const entry = state.decided[pair.pair];
      if (!entry || entry.choice === "skip") return [];
      const { pair: digest, prompt, left, right } = pair;
      return [{ pair: digest, prompt, left, right, choice: entry.choice, at: entry.at }];
    });
  }

  function choose(choice) {
    if (index >= pairs.length) return;
    state.decided[pairs[index].pair] = { choice, at: new Date().toISOString() };
    keep();
    go(index + 1);
  }

  function go(to) {
    index = Math.max(0, Math.min(pairs.length, to));
    show();
    window.scrollTo(0, 0);
    find(index < pairs.length ? "pair" : "end").focus({ preventScroll: true });
  }

  function fill(element, text) {
    element.textContent = text.trim() ? text : "(no text)";
    element.classList.toggle("empty", !text.trim());
  }

  function turn(role, text) {
    const box = document.createElement("div");
    box.className = "turn";
    if (role) {
      const heading = document.createElement("h2");
      heading.textContent = role;
      box.append(heading);
    }
    const body = document.createElement("div");
    body.className = "text";
    body.dir = "auto";
    fill(body, text);
    box.append(body);
    return box;
  }

  function show() {
    const atEnd = index >= pairs.length;
    find("pair").hidden = atEnd;
    find("end").hidden = !atEnd;
    find("progress").value = Object.keys(state.decided).length;
    find("back").disabled = index === 0;
    find("skip").hidden = find("choices").hidden = atEnd;
    if (atEnd) showEnd();
    else showPair(pairs[index]);
    showSaving();
  }

  function showPair(pair) {
    const alone = pair.turns.length === 1 && pair.turns[0][0] === "user";
    find("prompt").replaceChildren(...pair.turns.map(([role, text]) => turn(alone ? "" : role, text)));
    const choice = (state.decided[pair.pair] || {}).choice;
    ["left", "right"].forEach((side, i) => {
      fill(find(side).querySelector(".text"), pair.answers[i]);
      find(side).classList.toggle("chosen", choice === side);
    });
    for (const button of document.querySelectorAll("[data-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.choice === choice));
    }
    find("place").textContent = `${index + 1} of ${pairs.length}`;
  }

  function showEnd() {
    const skipped = pairs.length - labels().length;
    find("place").textContent = "done";
    find("summary").textContent = `${labels().length} labelled, ${skipped} skipped.`;
    find("left-over").hidden = skipped === 0;
  }

  function showSaving() {
    const made = labels();
    const current = made.length > 0 && state.saved === JSON.stringify(made);
    find("save").disabled = made.length === 0 || current;
    find("save").textContent = current ? "Saved" : made.length ? `Save ${made.length} label${made.length > 1 ? "s" : ""}` : "Save labels";
  }

  function save() {
    const name = find("name").value.trim();
    find("name").setAttribute("aria-invalid", String(!name));
    if (!name) {
      warn("Whose labels are these? Write your name beside the button, then save.");
      find("name").focus();
      return;
    }
    warn("");
    const made = labels();
    const file = { format: data.format, version: data.version, labeller: name, suite: data.suite, labels: made };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], { type: "application/json" }));
    link.download = `labels-${plain(data.suite)}-${plain(name)}.json`;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    state.saved = JSON.stringify(made);
    keep();
    showSaving();
  }

  function plain(text) {
    return text.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") || "x";
  }

  function firstOpen(isOpen) {
    const found = pairs.findIndex(isOpen);
    return found < 0 ? pairs.length : found;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    if (event.repeat) return;
    if (Object.hasOwn(keys, event.key)) choose(keys[event.key]);
    else if (event.key === "s" || event.key === "S") choose("skip");
    else if (event.key === "Backspace") go(index - 1);
    else return;
    event.preventDefault();
  });
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  find("skip").addEventListener("click", () => choose("skip"));
  find("back").addEventListener("click", () => go(index - 1));
  find("save").addEventListener("click", save);
  find("review").addEventListener("click", () => {
    go(firstOpen((pair) => (state.decided[pair.pair] || {}).choice === "skip"));
  });
  find("name").addEventListener("input", () => {
    state.name = find("name").value;
    find("name").removeAttribute("aria-invalid");
    keep();
  });
  find("name").addEventListener("keydown", (event) => {
    if (event.key === "Enter") save();
  });

  restore();
  find("name").value = state.name;
  index = firstOpen((pair) => !state.decided[pair.pair]);
  show();
})();
