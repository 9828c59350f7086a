// The examples: what is shown is a function of `state`.
(() => {
  const PAGE = 50;
  const data = JSON.parse(document.getElementById("data").textContent);
  const controls = document.getElementById("controls");
  const list = document.getElementById("list");
  const pagers = [...document.querySelectorAll(".pager")];
  const answered = data.candidates.flatMap((candidate, index) => (candidate.answered ? [index] : []));
  if (!data.examples.length || !answered.length) {
    list.append(element("p", "key", "There are no examples to show."));
    return;
  }
  const initial = { a: answered[0], b: answered[1] ?? answered[0], show: "all", order: "", find: "", page: 1 };
  let state = { ...initial };

  const filters = {
    all: () => true,
    flips: (example) => verdictsOf(example).some((verdict) => verdict.flip),
    differ: (example) => example.answers[state.a]?.text !== example.answers[state.b]?.text,
    unparsed: (example) => verdictsOf(example).some((v) => v.orders.some((order) => order[1] === "unparsed")),
    failed: (example) => [state.a, state.b].some((c) => !example.answers[c] || example.answers[c].text === null),
  };

  function verdictsOf(example) {
    return data.judges.flatMap((_, judge) =>
      [given(example, judge, state.a, state.b), given(example, judge, state.b, state.a)].filter(Boolean));
  }

  // What a judge said of a candidate: against its opponent or, in a round robin, against the other one shown.
  function given(example, judge, candidate, other) {
    const verdicts = example.verdicts[judge];
    if (!data.judges[judge].robin) return verdicts[candidate][0];
    return verdicts[candidate].find((one) => one.opponent === other)
      ?? turned(verdicts[other].find((one) => one.opponent === candidate));
  }

  // A pair of a round robin is kept from one side; this is the other.
  function turned(verdict) {
    if (!verdict) return undefined;
    const opposite = { first: "second", second: "first", win: "loss", loss: "win" };
    const orders = verdict.orders.map(([position, outcome, reason]) =>
      [opposite[position], opposite[outcome] ?? outcome, reason]);
    return { ...verdict, orders: orders.reverse() };
  }

  function searchable(example) {
    const answers = [state.a, state.b].map((c) => example.answers[c]?.text || "");
    const prompts = example.prompt.map((message) => message[1]);
    return [...prompts, example.reference, ...answers].join("\n").toLowerCase();
  }

  // Values per token of different tokenizers are not to be set against each other.
  function comparable(metric) {
    return state.a === state.b || ![state.a, state.b].some((c) => data.metrics[metric].incomparable.includes(c));
  }

  function gap(example, metric) {
    if (!comparable(metric)) return -1;
    const [a, b] = [state.a, state.b].map((c) => example.answers[c]?.scores[metric] ?? null);
    return a === null || b === null ? -1 : Math.abs(a - b);
  }

  function chosen() {
    const words = state.find.trim().toLowerCase();
    const found = data.examples.filter((example) => filters[state.show](example)
      && (!words || example.id.toLowerCase() === words || searchable(example).includes(words)));
    return state.order === "" ? found : found.sort((x, y) => gap(y, state.order) - gap(x, state.order));
  }

  function show() {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    state.page = Math.min(Math.max(1, state.page), pages);
    const start = (state.page - 1) * PAGE;
    const part = found.slice(start, start + PAGE);
    list.replaceChildren(...part.map(draw));
    document.getElementById("count").textContent = found.length
      ? `${start + 1}–${start + part.length} of ${found.length}` + (found.length < data.total ? `, ${data.total} in all` : "")
      : "No example is like that.";
    pagers.forEach((pager, index) => {
      pager.hidden = index > 0 && pages === 1;
      pager.querySelector('[data-step="-1"]').disabled = state.page === 1;
      pager.querySelector('[data-step="1"]').disabled = state.page === pages;
    });
    for (const name of ["a", "b", "show", "order", "find"]) {
      if (controls.elements[name].value !== String(state[name])) controls.elements[name].value = state[name];
    }
  }

  // One example

  function draw(example) {
    const article = element("article", "example");
    const head = element("header");
    const link = element("a", "permalink", `#${example.number}`);
    link.href = view.link(query({ ...state, show: "all", order: "", page: 1, find: example.id }), "examples");
    link.title = "Link to this example";
    head.append(link, element("span", "note mono", example.id));
    if (verdictsOf(example).some((verdict) => verdict.flip)) head.append(element("span", "badge warn", "verdict flip"));
    article.append(head);
    example.prompt.forEach(([role, content]) => article.append(block(role, content, "prompt")));
    article.append(block("reference", example.reference, "reference"));
    const sides = element("div", "sides");
    sides.append(side(example, state.a, state.b), side(example, state.b, state.a));
    article.append(sides);
    return article;
  }

  function block(label, content, kind) {
    const made = element("div", `block ${kind}`);
    const text = element("div", "text", content);
    text.dir = "auto";
    made.append(element("span", "label", label), text);
    return made;
  }

  function side(example, candidate, other) {
    const made = element("section", "side");
    made.append(element("h4", "", data.candidates[candidate].name));
    const answer = example.answers[candidate];
    if (!answer || answer.text === null) {
      made.append(element("p", "failure", `No answer: ${answer?.error || "none was recorded"}`));
    } else {
      const text = element("div", "text answer", answer.text || "(empty)");
      text.dir = "auto";
      const tokens = answer.tokens === null ? [] : [`${answer.tokens} ${answer.tokens === 1 ? "token" : "tokens"}`];
      const told = [...tokens, ...(answer.cut ? ["cut off at the limit"] : [])].join(", ");
      made.append(text, ...(told ? [element("p", "note", told)] : []));
    }
    if (answer) made.append(scores(answer, example.answers[other]));
    data.judges.forEach((judge, index) => {
      const said = given(example, index, candidate, other);
      if (said) made.append(verdict(judge.name, judge.robin ? data.candidates[other].name : judge.against, said));
    });
    return made;
  }

  function scores(answer, other) {
    const made = element("dl", "scores");
    data.metrics.forEach((metric, index) => {
      const value = answer.scores[index];
      const against = other?.scores[index] ?? null;
      const ahead = comparable(index) && value !== null && against !== null && (value - against) * metric.direction > 0;
      const unit = metric.unit === "" || metric.unit === "%" ? metric.unit : ` ${metric.unit}`;
      const pair = element("div");
      pair.append(element("dt", "", metric.label));
      pair.append(element("dd", ahead ? "ahead" : "", value === null ? "n/a" : `${value}${unit}`));
      made.append(pair);
    });
    return made;
  }

  function verdict(judge, opponent, said) {
    const made = element("div", "verdict");
    const head = element("p", "label", `${judge}, against ${opponent}`);
    if (said.flip) head.append(" ", element("span", "badge warn", "flip"));
    made.append(head);
    said.orders.forEach(([position, outcome, reason]) => {
      const line = element("p", "order");
      line.append(element("span", "note", `shown ${position}: `), element("strong", outcome, outcome));
      if (reason) line.append(element("span", "reason", ` ${reason}`));
      made.append(line);
    });
    return made;
  }

  // State and the URL

  function query(wanted) {
    const changed = Object.fromEntries(
      ["show", "order", "find", "page"].map((name) => [name, wanted[name] === initial[name] ? null : wanted[name]]));
    return { a: data.candidates[wanted.a].name, b: data.candidates[wanted.b].name, ...changed };
  }

  function read() {
    const index = (name) => answered.find((c) => data.candidates[c].name === view.get(name)) ?? initial[name];
    const metric = view.get("order");
    state = {
      a: index("a"),
      b: index("b"),
      show: Object.hasOwn(filters, view.get("show")) ? view.get("show") : initial.show,
      order: metric && data.metrics[metric] ? metric : "",
      find: view.get("find"),
      page: Number.parseInt(view.get("page"), 10) || 1,
    };
    show();
  }

  function change(part) {
    state = { ...state, page: 1, ...part };
    show();
    view.set(query(state), "examples");
  }

  for (const name of ["a", "b"]) {
    for (const index of answered) controls.elements[name].append(new Option(data.candidates[index].name, index));
  }
  data.metrics.forEach((metric, index) => {
    controls.elements.order.append(new Option(`largest difference in ${metric.label}`, index));
  });
  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  let waiting = 0;
  controls.addEventListener("input", (event) => {
    const { name, value } = event.target;
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ [name]: name === "a" || name === "b" ? Number(value) : value }), name === "find" ? 150 : 0);
  });
  pagers.forEach((pager) => pager.addEventListener("click", (event) => {
    const step = Number(event.target.dataset?.step);
    if (!step) return;
    change({ page: state.page + step });
    document.getElementById("examples").scrollIntoView();
  }));
  view.onChange(read);
  read();
})();
