// The examples' data: columns of all examples, texts of those that are on the page. Nothing here draws.
const corpus = (() => {
  const REFERENCE = -1;
  const data = JSON.parse(document.getElementById("data").textContent);
  const packed = document.getElementById("texts").textContent;
  const lines = packed ? packed.split("\n") : [];
  const lineOf = data.places && new Map(data.places.map((place, line) => [place, line]));
  const unpacked = [];
  const answered = data.candidates.flatMap((candidate, place) => (candidate.answered ? [place] : []));

  // Texts of an example, undefined where the page does not hold them. Unpacked when they are asked for.
  function texts(place) {
    const line = lineOf ? lineOf.get(place) : place;
    if (line === undefined || line >= lines.length) return undefined;
    unpacked[line] ??= JSON.parse(lines[line]);
    return unpacked[line];
  }

  function has(place) {
    return lineOf ? lineOf.has(place) : place < lines.length;
  }

  const name = (player) => (player === REFERENCE ? "reference" : data.candidates[player].name);

  // A player's text; null where it has none, undefined where the page does not hold it.
  function text(player, place) {
    const held = texts(place);
    return held && (player === REFERENCE ? held.reference : held.answers[player]);
  }

  function state(player, place) {
    return player === REFERENCE ? "o" : data.candidates[player].states[place];
  }

  function score(player, metric, place) {
    return player === REFERENCE ? null : data.candidates[player].scores[metric][place];
  }

  // Values per token of different tokenizers are not to be set against each other.
  function comparable(a, b, metric) {
    return a === b || ![a, b].some((player) => data.metrics[metric].incomparable.includes(player));
  }

  // By how much b is better than a; null where that cannot be told.
  function lead(a, b, metric, place) {
    const [x, y] = [score(a, metric, place), score(b, metric, place)];
    return x === null || y === null || !comparable(a, b, metric) ? null : (y - x) * (data.metrics[metric].direction || 1);
  }

  // What judges were asked about the two: each against the judge's opponent or, in a round robin, each other.
  // `mine` is the player from whose side it is told, the same for all judges of the two; `turned` says that
  // the columns are the other's.
  function asked(a, b) {
    const measure = data.judges.some((judge) => !judge.robin && judge.pairs.some((pair) => pair.b === a));
    const teller = measure ? b : a;
    return data.judges.flatMap((judge, place) => judge.pairs.flatMap((pair, index) => {
      const both = [a, b].includes(pair.a) && [a, b].includes(pair.b);
      if (judge.robin ? !both : ![a, b].includes(pair.a)) return [];
      const turned = judge.robin && pair.a !== teller;
      const [mine, other] = turned ? [pair.b, pair.a] : [pair.a, pair.b];
      return [{ judge: place, index, pair, mine, other, turned }];
    }));
  }

  const OPPOSITE = { w: "l", l: "w" };
  const isFlip = (first, second) => (first === "w" && second === "l") || (first === "l" && second === "w");
  const flipped = ({ pair }, place) => isFlip(pair.first[place], pair.second[place]);

  // Both orders from the side of `mine`: [outcome, reason; undefined where the page does not hold it].
  function orders({ judge, index, pair, turned }, place) {
    const reasons = texts(place)?.reasons;
    const [, , ...why] = reasons?.find((one) => one[0] === judge && one[1] === index) ?? [];
    const told = [pair.first[place], pair.second[place]].map(
      (outcome, order) => [outcome ?? "-", reasons ? why[order] ?? "" : undefined]);
    return turned ? told.reverse().map(([outcome, reason]) => [OPPOSITE[outcome] ?? outcome, reason]) : told;
  }

  const WORTH = { w: 1, l: -1 };

  // Whether one judge prefers the one and another judge the other, both orders of each taken together.
  function disagree(questions, place) {
    const sides = new Map();
    return questions.some(({ pair }) => {
      const sum = (WORTH[pair.first[place]] ?? 0) + (WORTH[pair.second[place]] ?? 0);
      if (!sum) return false;
      const key = Math.min(pair.a, pair.b) * 10000 + Math.max(pair.a, pair.b);
      const side = Math.sign(sum) * (pair.a < pair.b ? 1 : -1);
      const before = sides.get(key);
      sides.set(key, side);
      return before !== undefined && before !== side;
    });
  }

  const alike = (player, place) => (player === REFERENCE ? "=" : data.candidates[player].alike[place]);

  // What can be asked for: key -> whether an example is like that, for two players and what judges said of them.
  const filters = {
    flips: (a, b, questions) => (place) => questions.some((one) => flipped(one, place)),
    disagree: (a, b, questions) => (place) => disagree(questions, place),
    unparsed: (a, b, questions) => (place) =>
      questions.some(({ pair }) => pair.first[place] === "u" || pair.second[place] === "u"),
    failed: (a, b) => (place) => [a, b].some((player) => "f-".includes(state(player, place))),
    differ: (a, b) => (place) => alike(a, place) !== alike(b, place),
    texts: () => has,
  };

  function matches(a, b, words) {
    return (place) => {
      if (data.ids[place].toLowerCase() === words) return true;
      const held = texts(place);
      if (!held) return false;
      const parts = [...held.prompt.map((message) => message[1]), held.reference, text(a, place), text(b, place)];
      return parts.some((part) => part && part.toLowerCase().includes(words));
    };
  }

  return {
    REFERENCE, answered, asked, comparable, data, filters, flipped, has, lead, matches, name, orders, score, state,
    text, texts, sampled: lines.length < data.total,
  };
})();
