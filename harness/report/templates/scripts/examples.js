// The examples: what is shown is a function of `state`, which is read from and kept in the URL.
(() => {
  const PAGE = 50;
  const { data, answered } = corpus;
  const section = document.getElementById("examples");
  const controls = document.getElementById("controls");
  const list = document.getElementById("list");
  const pagers = [...section.querySelectorAll(".pager")];
  const checks = [...controls.querySelectorAll("[name=show]")];
  if (!data.total || !answered.length) {
    list.append(element("p", "key", "There are no examples to show."));
    return;
  }
  const others = answered.filter((place) => place !== answered[0]);
  const ranked = others.filter((place) => data.candidates[place].rank !== null);
  const best = ranked.sort((x, y) => data.candidates[x].rank - data.candidates[y].rank)[0];
  const initial = {
    a: answered[0], b: best ?? others[0] ?? answered[0], show: [], judge: "", order: "", find: "", page: 1, diff: "",
    example: "",
  };
  const players = [...answered, ...(data.candidates.some((one) => one.name === "reference") ? [] : [corpus.REFERENCE])];
  // Orders by a metric: [key in the URL, its words, the metric, what a lead of the right side counts as].
  const byMetric = [
    ["", "largest difference in", Math.abs],
    ["right:", "right ahead most in", (lead) => lead],
    ["left:", "left ahead most in", (lead) => -lead],
  ].flatMap(([key, words, worth]) => data.metrics.map((metric, index) => [key + metric.name, `${words} ${metric.label}`, index, worth]));
  const orders = ["", ...(corpus.sampled ? ["eval"] : []), ...byMetric.map(([key]) => key)];
  let state = null;
  let found = [];

  // Which examples, in which order

  function predicates() {
    const questions = corpus.asked(state.a, state.b);
    const ofJudge = questions.filter(({ judge }) => ["", data.judges[judge].name].includes(state.judge));
    return Object.fromEntries(Object.entries(corpus.filters).map(
      // To disagree takes two.
      ([key, filter]) => [key, filter(state.a, state.b, key === "disagree" ? questions : ofJudge)]));
  }

  function chosen(tests) {
    const words = state.find.trim().toLowerCase();
    const wanted = [...state.show.map((key) => tests[key]), ...(words ? [corpus.matches(state.a, state.b, words)] : [])];
    const places = [];
    for (let place = 0; place < data.total; place += 1) {
      if (wanted.every((test) => test(place))) places.push(place);
    }
    const [, , metric, worth] = byMetric.find(([key]) => key === state.order) ?? [];
    if (worth) {
      const leads = new Map(places.map((place) => [place, corpus.lead(state.a, state.b, metric, place)]));
      const worths = new Map([...leads].map(([place, lead]) => [place, lead === null ? -Infinity : worth(lead)]));
      return places.sort((x, y) => (worths.get(x) === worths.get(y) ? 0 : worths.get(y) - worths.get(x)));
    }
    if (state.order === "" && corpus.sampled) return places.sort((x, y) => corpus.has(y) - corpus.has(x));
    return places;
  }

  let counted = "";
  function tellCounts(tests) {
    const now = `${state.a} ${state.b} ${state.judge}`;
    if (counted === now) return;
    counted = now;
    for (const check of checks) {
      let count = 0;
      for (let place = 0; place < data.total; place += 1) count += tests[check.value](place) ? 1 : 0;
      check.closest("label").querySelector(".count").textContent = example.number(count);
    }
  }

  // Drawing

  function show() {
    const tests = predicates();
    tellCounts(tests);
    found = chosen(tests);
    const linked = state.example === "" ? -1 : data.ids.indexOf(state.example);
    const position = found.indexOf(linked);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    if (position >= 0) state.page = Math.floor(position / PAGE) + 1;
    state.page = Math.min(Math.max(1, state.page), pages);
    const start = (state.page - 1) * PAGE;
    const part = found.slice(start, start + PAGE);
    const drawn = {
      a: state.a, b: state.b, diff: state.diff, find: state.find.trim().toLowerCase(),
      questions: corpus.asked(state.a, state.b),
      link: (place) => view.link({ ...query(state), page: null, example: data.ids[place] }, "examples"),
    };
    list.replaceChildren(...part.map((place) => example.draw(drawn, place)));
    list.querySelector(`[data-place="${linked}"]`)?.classList.add("linked");
    document.getElementById("count").textContent = told(start, part.length, state.example !== "" && position < 0);
    pagers.forEach((pager, index) => {
      pager.hidden = index > 0 && pages === 1;
      pager.querySelector('[data-step="-1"]').disabled = state.page === 1;
      pager.querySelector('[data-step="1"]').disabled = state.page === pages;
    });
    keepControls();
  }

  function told(start, shown, lost) {
    const { number } = example;
    const range = shown ? `${number(start + 1)}–${number(start + shown)} of ${number(found.length)}` : "No example is like that.";
    return [
      range + (shown && found.length < data.total ? `, ${number(data.total)} in all` : ""),
      ...(state.find.trim() && corpus.sampled ? ["searched in the texts that are on this page"] : []),
      ...(lost ? ["the example of the link is not among them"] : []),
    ].join("; ");
  }

  function keepControls() {
    for (const key of ["a", "b", "judge", "order", "find", "diff"]) {
      const control = controls.elements[key];
      if (control.value !== String(state[key])) control.value = state[key];
    }
    for (const check of checks) check.checked = state.show.includes(check.value);
    for (const note of controls.querySelectorAll("[data-marks]")) note.hidden = note.dataset.marks !== state.diff;
  }

  // State and the URL

  function query(wanted) {
    const told = (key, value) => (value === initial[key] ? null : value);
    return {
      a: corpus.name(wanted.a), b: corpus.name(wanted.b), show: wanted.show.join(",") || null,
      ...Object.fromEntries(["judge", "order", "find", "page", "diff", "example"].map((key) => [key, told(key, wanted[key])])),
    };
  }

  function read() {
    const player = (key) => players.find((one) => corpus.name(one) === view.get(key)) ?? initial[key];
    const wanted = view.get("show").split(",");
    const one = {
      a: player("a"),
      b: player("b"),
      show: checks.map((check) => check.value).filter((key) => wanted.includes(key)),
      judge: data.judges.some((judge) => judge.name === view.get("judge")) ? view.get("judge") : "",
      order: orders.includes(view.get("order")) ? view.get("order") : "",
      find: view.get("find"),
      page: Number.parseInt(view.get("page"), 10) || 1,
      diff: ["pair", "reference"].includes(view.get("diff")) ? view.get("diff") : "",
      example: view.get("example"),
    };
    // Another section's anchor leaves all as it is, with what was unfolded.
    if (state && JSON.stringify(query(one)) === JSON.stringify(query(state))) return;
    state = one;
    show();
    goToLinked();
  }

  function goToLinked() {
    const linked = list.querySelector(".linked");
    if (!linked || !location.hash.startsWith("#examples?")) return;
    linked.scrollIntoView();
    linked.focus({ preventScroll: true });
  }

  function change(part) {
    state = { ...state, page: 1, example: "", ...part };
    show();
    view.set(query(state), "examples");
  }

  function turn(step, focused) {
    const page = state.page + step;
    if (page < 1 || page > Math.ceil(found.length / PAGE)) return;
    change({ page });
    section.scrollIntoView();
    if (focused) list.children[step > 0 ? 0 : list.children.length - 1].focus({ preventScroll: step > 0 });
  }

  // Controls

  function values() {
    const { a, b, judge, order, find, diff } = controls.elements;
    return {
      a: Number(a.value), b: Number(b.value), judge: judge.value, order: order.value, find: find.value, diff: diff.value,
      show: checks.filter((check) => check.checked).map((check) => check.value),
    };
  }

  function differs(wanted) {
    return Object.entries(wanted).some(([key, value]) => String(value) !== String(state[key]));
  }

  function follow() {
    let waiting = 0;
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => differs(values()) && change(values()), event.target.name === "find" ? 200 : 0);
    });
    pagers.forEach((pager) => pager.addEventListener("click", (event) => {
      const step = Number(event.target.dataset?.step);
      if (step) turn(step, false);
    }));
    // Letters act only while the focus is in the list, so that they get in nobody's way (WCAG 2.1.4).
    list.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { j: 1, k: -1, n: 1, p: -1 }[event.key];
      if (!step) return;
      if ("np".includes(event.key)) turn(step, true);
      else walk(event.target.closest(".example"), step);
    });
    window.addEventListener("load", goToLinked);
    view.onChange(read);
  }

  function walk(from, step) {
    const next = step > 0 ? from?.nextElementSibling : from?.previousElementSibling;
    if (!next) turn(step, true);
    else {
      next.focus({ preventScroll: true });
      next.scrollIntoView();
    }
  }

  function offer() {
    for (const key of ["a", "b"]) {
      for (const player of players) controls.elements[key].append(new Option(corpus.name(player), player));
    }
    if (corpus.sampled) {
      controls.elements.order.options[0].text = "those with texts first";
      controls.elements.order.append(new Option("as in the eval set", "eval"));
    }
    for (const { name } of data.judges) controls.elements.judge.append(new Option(name, name));
    controls.elements.judge.closest("label").hidden = data.judges.length < 2;
    for (const [key, words] of byMetric) controls.elements.order.append(new Option(words, key));
    checks.filter((check) => check.value === "texts" ? !corpus.sampled : "judges" in check.dataset && !data.judges.length)
      .forEach((check) => { check.closest("label").hidden = true; });
    controls.hidden = false;
  }

  offer();
  follow();
  read();
})();
