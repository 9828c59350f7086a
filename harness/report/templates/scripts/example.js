// One example as the reader sees it. All texts are set as textContent, each in its own direction.
const example = (() => {
  const FOLD = { characters: 1200, lines: 24 };
  const MOST_MARKS = 200;
  const MOST_OF_A_NAME = 80;
  const WORDS = { w: "win", l: "loss", t: "tie", u: "unparsed" };
  const ELSEWHERE = "examples.parquet and examples.jsonl";
  const { data } = corpus;

  const isolated = (text, className) => element("bdi", className, text);
  const shortened = (text) => (text.length > MOST_OF_A_NAME ? `${text.slice(0, MOST_OF_A_NAME)}…` : text);
  const number = (count) => count.toLocaleString("en-US");

  // Where a long text is cut: after so many characters or lines, but not before what was searched for.
  function cut(text, words) {
    let end = FOLD.characters;
    let line = -1;
    for (let lines = 0; lines < FOLD.lines; lines += 1) {
      line = text.indexOf("\n", line + 1);
      if (line < 0 || line > end) break;
      if (lines === FOLD.lines - 1) end = line;
    }
    const found = words ? text.toLowerCase().indexOf(words) : -1;
    end = Math.max(end, found + words.length + 200 * (found >= 0));
    if (text.length <= end * 1.25) return text.length;
    return /[\ud800-\udbff]/.test(text[end - 1]) ? end - 1 : end;
  }

  // Pieces [text, mark] up to a length, a mark being the name of an element and its class; what was searched for is marked in those that have no mark.
  function fill(into, pieces, end, words) {
    const parts = [];
    let left = end;
    for (const [text, mark] of pieces) {
      if (left <= 0) break;
      const shown = text.slice(0, left);
      left -= shown.length;
      const [tag, kind = ""] = mark.split(".");
      if (tag) parts.push(element(tag, kind, shown));
      else parts.push(...found(shown, words));
      if (shown.length < text.length) parts.push("…");
    }
    into.replaceChildren(...parts);
  }

  function found(text, words) {
    if (!words) return [text];
    const escaped = words.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    const parts = [];
    let at = 0;
    for (const match of text.matchAll(new RegExp(escaped, "giu"))) {
      if (parts.length >= MOST_MARKS) break;
      parts.push(text.slice(at, match.index), element("mark", "", match[0]));
      at = match.index + match[0].length;
    }
    return [...parts, text.slice(at)];
  }

  // A text with its end folded away where it is long.
  function shown(className, pieces, words, what) {
    const made = element("div", className);
    const text = element("div", "text");
    text.dir = "auto";
    const whole = pieces.map((piece) => piece[0]).join("");
    const short = cut(whole, words);
    fill(text, pieces, short, words);
    made.append(text);
    if (short < whole.length) {
      const more = `show all ${number(whole.length)} characters`;
      const button = element("button", "fold", more);
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", `${more} of ${what}`);
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") === "false";
        fill(text, pieces, open ? whole.length : short, words);
        button.setAttribute("aria-expanded", String(open));
        button.setAttribute("aria-label", `${open ? "show less" : more} of ${what}`);
        button.textContent = open ? "show less" : more;
      });
      made.append(button);
    }
    return made;
  }

  function block(label, pieces, kind, words) {
    const made = element("div", `block ${kind}`);
    made.append(isolated(shortened(label), "label"));
    made.append(pieces[0]?.[0] ? shown("", pieces, words, label) : element("p", "missing", "none"));
    return made;
  }

  const marked = ({ pieces }, mark) => pieces.map(([text, isLacking]) => [text, isLacking ? mark : ""]);
  const told = ({ count }, than) => (count ? `${number(count)} ${count === 1 ? "word" : "words"} not in ${than}` : `no word that is not in ${than}`);
  const refused = (made) => ({ ...made, note: "too long or too unlike to compare word by word" });

  // The two sides' texts as pieces, with what the other lacks marked, and a note on that; see `againstReference`.
  function compared(view, place) {
    const players = [view.a, view.b];
    const texts = players.map((player) => corpus.text(player, place));
    const plain = texts.map((text) => ({ pieces: [[text, ""]], note: "" }));
    if (view.diff === "pair" && view.a !== view.b && texts.every((text) => text)) {
      const found = wordDiff.compare(...texts);
      if (!found) return { sides: plain.map(refused) };
      const other = (side) => shortened(corpus.name(players[1 - side]));
      return { sides: found.map((one, side) => ({ pieces: marked(one, side ? "ins" : "del"), note: told(one, other(side)) })) };
    }
    if (view.diff === "reference" && corpus.text(corpus.REFERENCE, place)) return againstReference(players, texts, place);
    return { sides: plain };
  }

  // In each answer what the reference lacks is marked, in the reference what the answers lack.
  function againstReference(players, texts, place) {
    const reference = corpus.text(corpus.REFERENCE, place);
    const found = players.map((player, side) => (
      texts[side] && player !== corpus.REFERENCE ? wordDiff.compare(reference, texts[side]) : undefined));
    const compared = found.filter((one) => one);
    const ofReference = compared.length ? lacking(compared.map(([pieces]) => pieces)) : [[reference, ""]];
    const sides = players.map((player, side) => {
      if (player === corpus.REFERENCE) return { pieces: ofReference, note: "" };
      const plain = { pieces: [[texts[side], ""]], note: "" };
      if (found[side] === undefined) return plain;
      if (found[side] === null) return refused(plain);
      const [its, own] = found[side];
      const less = its.count ? `, ${number(its.count)} of its words missing` : "";
      return { pieces: marked(own, "u"), note: told(own, "the reference") + less };
    });
    return { reference: ofReference, sides };
  }

  // One text's pieces by what several others lack of it: what all of them lack, and what some of them do.
  function lacking(others) {
    const ends = others.map(({ pieces }) => {
      let end = 0;
      return pieces.map(([text, isLacking]) => [end += text.length, isLacking]);
    });
    const whole = others[0].pieces.map((piece) => piece[0]).join("");
    const made = [];
    const at = ends.map(() => 0);
    for (let start = 0; start < whole.length;) {
      const now = ends.map((runs, one) => runs[at[one]]);
      const end = Math.min(...now.map((run) => run[0]));
      const count = now.filter((run) => run[1]).length;
      made.push([whole.slice(start, end), count === 0 ? "" : count === others.length ? "u" : "u.some"]);
      now.forEach((run, one) => { at[one] += run[0] === end ? 1 : 0; });
      start = end;
    }
    return made;
  }

  function side(view, place, player, other, { pieces, note }) {
    const made = element("section", "side");
    const name = element("h3", "", shortened(corpus.name(player)));
    name.dir = "auto";
    made.append(name);
    const [text, state] = [corpus.text(player, place), corpus.state(player, place)];
    if ("f-".includes(state)) made.append(failure(player, place, state));
    else if (state === "e") made.append(element("p", "missing", "an empty answer"));
    else if (text === "") made.append(element("p", "missing", "none"));
    else if (text !== undefined) made.append(shown("answer", pieces, view.find, `${shortened(corpus.name(player))}’s answer`));
    const tokens = player === corpus.REFERENCE ? null : corpus.texts(place)?.tokens[player] ?? null;
    const told = [
      ...(tokens === null ? [] : [`${number(tokens)} ${tokens === 1 ? "token" : "tokens"}`]),
      ...(state === "c" ? ["cut off at the limit"] : []),
      ...(note ? [note] : []),
    ];
    if (told.length) made.append(element("p", "note", told.join(" · ")));
    if (player !== corpus.REFERENCE) made.append(scores(player, other, place));
    return made;
  }

  function failure(player, place, state) {
    const held = corpus.texts(place);
    if (state === "-") return element("p", "failure", "No answer: none was recorded");
    const made = element("p", "failure", "No answer: ");
    made.append(isolated(held ? held.errors?.[player] ?? "no reason was recorded" : `the reason is in ${ELSEWHERE}`));
    return made;
  }

  function scores(player, other, place) {
    const made = element("dl", "scores");
    data.metrics.forEach((metric, index) => {
      const value = corpus.score(player, index, place);
      const against = corpus.score(other, index, place);
      const ahead = corpus.comparable(player, other, index) && value !== null && against !== null
        && (value - against) * metric.direction > 0;
      const unit = metric.unit === "" || metric.unit === "%" ? metric.unit : ` ${metric.unit}`;
      const pair = element("div");
      pair.append(element("dt", "", metric.label));
      pair.append(element("dd", ahead ? "ahead" : value === null ? "missing" : "", value === null ? "n/a" : `${value}${unit}`));
      made.append(pair);
    });
    return made;
  }

  function verdict(question, place, words) {
    const orders = corpus.orders(question, place);
    if (orders.every(([outcome]) => outcome === "-")) return [];
    const made = element("div", "verdict");
    const head = element("p", "label");
    head.append(isolated(data.judges[question.judge].name, "by"), ": ",
      isolated(shortened(corpus.name(question.mine))), " against ", isolated(shortened(corpus.name(question.other))));
    if (corpus.flipped(question, place)) head.append(" ", element("span", "badge warn", "flip"));
    made.append(head);
    orders.forEach(([outcome, reason], order) => {
      if (outcome === "-") return;
      const line = element("div", "order");
      const told = element("p");
      told.append(element("span", "note", `shown ${order ? "second" : "first"}: `), element("strong", WORDS[outcome], WORDS[outcome]));
      line.append(told);
      if (reason) line.append(shown("reason", [[reason, ""]], words, "the judge’s reason"));
      made.append(line);
    });
    return [made];
  }

  // `view`: a, b, diff, find (in lower case), questions, and link(place), the address of one example.
  function draw(view, place) {
    const made = element("article", "example");
    made.tabIndex = -1;
    made.dataset.place = place;
    const held = corpus.texts(place);
    const head = element("header");
    const link = element("a", "permalink", `#${number(place + 1)}`);
    link.href = view.link(place);
    link.title = "Link to this example";
    const id = data.ids[place];
    head.append(link, isolated(shortened(id), "note mono"));
    if (view.questions.some((question) => corpus.flipped(question, place))) head.append(element("span", "badge warn", "verdict flip"));
    made.setAttribute("aria-label", `Example ${place + 1}`);
    made.append(head);
    const texts = held ? compared(view, place) : { sides: [{}, {}] };
    if (held) {
      held.prompt.forEach(([role, content]) => made.append(block(role, [[content, ""]], "prompt", view.find)));
      const standsBeside = [view.a, view.b].includes(corpus.REFERENCE);
      if (!standsBeside) made.append(block("reference", texts.reference ?? [[held.reference, ""]], "reference", view.find));
    } else {
      made.append(element("p", "note elsewhere", `Its texts are not on this page: see line ${number(place + 1)} of examples.jsonl, or look for its id in examples.parquet.`));
    }
    const sides = element("div", "sides");
    sides.append(side(view, place, view.a, view.b, texts.sides[0]), side(view, place, view.b, view.a, texts.sides[1]));
    const verdicts = verdictsOn(view, place);
    made.append(sides, ...verdicts);
    if (verdicts.length && held && !held.reasons) made.append(element("p", "note elsewhere", `The judges’ reasons are not on this page: see ${ELSEWHERE}.`));
    return made;
  }

  // What was said of one of the two against a third stands under its answer, what was said of both under both.
  function verdictsOn(view, place) {
    const both = [view.a, view.b];
    const told = (wanted) => view.questions.filter(wanted).flatMap((question) => verdict(question, place, view.find));
    const isOfBoth = ({ mine, other }) => both.includes(mine) && both.includes(other);
    const [alone, together] = [both.map((player) => told((one) => one.mine === player && !isOfBoth(one))), told(isOfBoth)];
    const made = [];
    if (alone.some((side) => side.length)) {
      const beside = element("div", "verdicts about");
      beside.append(...alone.map((side) => {
        const one = element("div");
        one.append(...side);
        return one;
      }));
      made.push(beside);
    }
    if (together.length) {
      const list = element("div", "verdicts");
      list.append(...together);
      made.push(list);
    }
    return made;
  }

  return { draw, number };
})();
