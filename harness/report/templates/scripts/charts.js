// Quality against cost, drawn anew for a price per hour of a device that the reader types. The chart as it came
// carries what is needed; scale, ticks, front and labels are made as harness/report/charts makes them.
(() => {
  const pricing = document.getElementById("pricing");
  if (!pricing) return;
  const [LOWEST_PRICE, HIGHEST_PRICE] = [0.0001, 100000];
  // Labels, as in charts/labels.py and by its names.
  const LINE = 13;
  const [ASCENT, GAP, RADIUS] = [10, 10, 6];
  const [CROSSES, COVERS] = [20, 60];
  // The scale, as in charts/money.py (`cost_scale`) and charts/common.py (`is_wide`).
  const WIDE_TIMES = 20;
  const [MARGIN_TIMES, HEADROOM_TIMES] = [1.4, 1.12];
  // Ticks, as in charts/money.py (`money_ticks`) and svg.py (`_ticks`).
  const MOST_TICKS = 8;
  const WANTED_TICKS = 5;
  const ALMOST = 0.999;
  const ROUNDING = 1e-9;
  const input = document.getElementById("price");
  const told = document.getElementById("price-told");
  const figure = pricing.closest("figure");
  const priced = document.querySelector('.glance [data-part="priced"]');
  const initial = pricing.dataset.price ? String(Number(pricing.dataset.price)) : "";
  const changing = ["h3", "svg", "table", "figcaption"];
  const came = new Map(changing.map((name) => [name, figure.querySelector(name).cloneNode(true)]));
  const data = came.get("svg").dataset;
  const { free } = data;
  const direction = Number(data.direction);
  const [plotLeft, plotRight, plotBottom] = data.plot.split(" ").map(Number);
  const [left, right, top, bottom] = data.frame.split(" ").map(Number);

  // What was typed, or the start of a link, as a price; undefined where it is none.
  function priceOf(text) {
    const price = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
    return price >= LOWEST_PRICE && price <= HIGHEST_PRICE ? price : undefined;
  }

  function show(text) {
    const price = priceOf(text);
    const wrong = text !== "" && price === undefined;
    if (wrong) {
      input.setAttribute("aria-invalid", "true");
      told.textContent = `“${text.slice(0, 30)}” is no price: a number from ${LOWEST_PRICE} to `
        + `${HIGHEST_PRICE.toLocaleString("en")}, as 2.50. The chart stays as it was.`;
      return false;
    }
    for (const [name, original] of came) figure.querySelector(name).replaceWith(original.cloneNode(true));
    input.removeAttribute("aria-invalid");
    told.textContent = "";
    if (priced) priced.textContent = "";
    if (price !== undefined && String(price) !== initial) draw(price);
    return true;
  }

  // One drawing

  function draw(price) {
    const svg = figure.querySelector("svg");
    const part = (name) => svg.querySelector(`[data-part="${name}"]`);
    const points = [...svg.querySelectorAll("[data-candidate]")].map((mark) => pointOf(mark, price));
    const drawn = points.filter((point) => point.cost !== null);
    if (!drawn.length) return;
    const x = costScale(drawn.map((point) => point.cost));
    for (const point of points) {
      if (point.cost === null) {
        point.mark.setAttribute("display", "none");
        continue;
      }
      point.mark.removeAttribute("display");
      point.x = x(point.cost);
      point.mark.setAttribute("transform", `translate(${coordinate(point.x)} 0)`);
    }
    const front = frontOf(drawn);
    const corners = front.map((point) => `${coordinate(point.x)} ${coordinate(point.y)}`).join("L");
    part("front").setAttribute("d", corners && `M${corners}`);
    part("ticks").replaceChildren(...ticksOf(x).flatMap(([value, text]) => tick(x(value), text)));
    part("title").firstElementChild.textContent = "US dollars" + (x.logarithmic ? ", logarithmic" : "");
    part("labels").replaceChildren(...labels(drawn));
    const title = `${data.label} against cost at ${dollars(price)} per hour`;
    figure.querySelector("h3").textContent = title;
    svg.querySelector("title").textContent = title;
    const words = drawn.map((point) => `${point.name}: ${point.quality} for ${dollars(point.cost)}`);
    svg.querySelector("desc").textContent = `${words.join("; ")}.`;
    tell(points);
    fill(points, front);
    answer(points, price);
    const best = front.map((point) => point.name).join(", ") || "empty: none is better than base";
    told.textContent = `At ${dollars(price)} per hour the front is ${best}.`;
  }

  function pointOf(mark, price) {
    const { name, label, width, height, ends, value, hours, charged } = mark.dataset;
    const row = rows()[[...mark.parentNode.querySelectorAll("[data-candidate]")].indexOf(mark)];
    const own = charged === undefined ? null : Number(charged);
    const cost = hours === undefined ? own : Number(hours) * price + (own ?? 0);
    return { mark, row, name, label, cost, y: Number(height), ends: ends.split(" ").map(Number), width: Number(width),
      value: Number(value), quality: row.cells[1].textContent };
  }

  function rows() {
    return [...figure.querySelector("table").tBodies[0].rows];
  }

  // The points that no other beats in both, nor base for nothing, by rising cost; equals are drawn once.
  function frontOf(points) {
    const front = [];
    const sorted = [...points].sort((a, b) => a.cost - b.cost || direction * (b.value - a.value));
    let best = free === undefined ? -Infinity : direction * Number(free);
    for (const point of sorted) {
      if (direction * point.value > best) {
        front.push(point);
        best = direction * point.value;
      }
    }
    return front;
  }

  // Scale and ticks

  function costScale(costs) {
    const [low, high] = [Math.min(...costs), Math.max(...costs)];
    const wide = low > 0 && high > WIDE_TIMES * low;
    const ceiling = high * HEADROOM_TIMES || 1;
    // From 0, unless that would leave most of the plot empty.
    const ends = wide ? [low / MARGIN_TIMES, high * MARGIN_TIMES] : [low < ceiling / 2 ? 0 : low - (ceiling - low) / 4, ceiling];
    const of = wide ? Math.log : (value) => value;
    const [first, last] = ends.map(of);
    const part = (value) => (last > first ? (of(value) - first) / (last - first) : 0.5);
    const scale = (value) => plotLeft + part(value) * (plotRight - plotLeft);
    return Object.assign(scale, { low: ends[0], high: ends[1], logarithmic: wide });
  }

  function ticksOf(scale) {
    return scale.logarithmic ? powers(scale) : steps(scale);
  }

  function powers({ low, high }) {
    let found = [];
    for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent += 1) {
      found.push(...[1, 3].map((factor) => factor * 10 ** exponent).filter((value) => low <= value && value <= high));
    }
    while (found.length > MOST_TICKS) found = found.filter((_, index) => index % 2 === 0);
    return found.map((value) => [value, sum(value, decimalsOf(value))]);
  }

  function steps({ low, high }) {
    const rough = (high - low) / WANTED_TICKS;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => power * factor).find((size) => size >= rough * ALMOST);
    const places = decimalsOf(step);
    const found = [];
    const first = Math.ceil(low / step - ROUNDING) + 0; // never the other zero, which has a sign
    for (let i = first; i <= Math.floor(high / step + ROUNDING); i += 1) {
      found.push([i * step, sum(i * step, places === 1 ? 2 : places)]); // half a dollar is 50 cents
    }
    return found;
  }

  // How many decimals show a number's first digit.
  function decimalsOf(value) {
    return Math.max(0, -Math.floor(Math.log10(value) + ROUNDING));
  }

  function dollars(value) {
    return sum(value, value >= 1 || value === Number(value.toFixed(2)) ? 2 : Math.max(2, 2 - Math.floor(Math.log10(value))));
  }

  function sum(value, places) {
    const digits = value === 0 ? 0 : Math.min(places, 12);
    return "$" + value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  function coordinate(value) {
    return value.toFixed(1).replace(/\.0$/, "");
  }

  // Names: beside their points, else on a grid of lines; none covers another

  function labels(points) {
    const order = [...points].sort((a, b) => a.y - b.y || a.x - b.x);
    const taken = [];
    for (const point of order) {
      const free = wanted(point).filter((one) => !taken.some((other) => overlap(one, other)));
      const badness = free.map((one) => badnessOf(one, point, points));
      point.place = free[badness.indexOf(Math.min(...badness))];
      if (point.place) taken.push(point.place);
    }
    return points.filter((point) => point.place).flatMap(label);
  }

  function wanted({ x, y, width }) {
    const beside = y + 4;
    const grid = Array.from({ length: Math.floor((bottom - top) / LINE) }, (_, row) => top + ASCENT + LINE * row);
    grid.sort((a, b) => Math.abs(a - beside) - Math.abs(b - beside));
    return [beside, ...grid].flatMap((line) => {
      const led = Math.abs(line - beside) > LINE / 2;
      return [
        ...(x + GAP + width <= right ? [{ start: x + GAP, end: x + GAP + width, line, toRight: true, led }] : []),
        ...(x - GAP - width >= left ? [{ start: x - GAP - width, end: x - GAP, line, toRight: false, led }] : []),
      ];
    });
  }

  function overlap(one, other) {
    return Math.abs(one.line - other.line) < LINE && one.start < other.end && other.start < one.end;
  }

  // How far off, and what it would cover.
  function badnessOf(place, mine, points) {
    const marks = points.filter((p) => covers(place, p.x, RADIUS, p.y - RADIUS, p.y + RADIUS)).length;
    const intervals = points.filter((p) => covers(place, p.x, 1, ...p.ends)).length;
    return Math.abs(place.line - mine.y - 4) + COVERS * marks + CROSSES * intervals;
  }

  function covers({ start, end, line }, x, aside, from, to) {
    return start < x + aside && x - aside < end && line - ASCENT < to && from < line - ASCENT + LINE;
  }

  function label({ x, y, label: name, place }) {
    const [edge, anchor] = place.toRight ? [place.start, "start"] : [place.end, "end"];
    const led = place.led ? [line(x, y, edge + (place.toRight ? -3 : 3), place.line - 4, "leader")] : [];
    return [...led, text(name, edge, place.line, anchor, "label")];
  }

  function tick(at, words) {
    return [line(at, plotBottom, at, plotBottom + 4, "axis"), text(words, at, plotBottom + 17, "middle", "tick")];
  }

  function line(x1, y1, x2, y2, className) {
    const [a, b, c, d] = [x1, y1, x2, y2].map(coordinate);
    return shape("line", { x1: a, y1: b, x2: c, y2: d, class: className });
  }

  function text(words, x, y, anchor, className) {
    const made = shape("text", { x: coordinate(x), y: coordinate(y), "text-anchor": anchor, class: className });
    made.textContent = words;
    return made;
  }

  function shape(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // Words and table

  function tell(points) {
    const without = points.filter((point) => point.cost === null).map((point) => `${point.name} (no cost is known)`);
    const omitted = [...JSON.parse(data.omitted), ...without];
    const caption = figure.querySelector("figcaption");
    caption.querySelector(".omitted")?.remove();
    if (omitted.length) caption.append(element("span", "omitted", ` Not drawn: ${omitted.join("; ")}.`));
  }

  // What the leader costs by that price, beside what the first screen says of its cost.
  function answer(points, price) {
    const leader = points.find(({ mark }) => priced && mark.dataset.candidate === priced.dataset.candidate);
    if (!leader || leader.cost === null) return;
    priced.textContent = `at your ${dollars(price)} per hour: ${dollars(leader.cost)} (${leader.name})`;
  }

  function fill(points, front) {
    const head = figure.querySelector("thead tr");
    let money = head.querySelector('[data-part="money"]');
    if (!money) {
      money = element("th", "number", "US dollars");
      money.scope = "col";
      money.dataset.part = "money";
      head.append(money);
    }
    for (const { row, cost, value } of points) {
      const on = front.some((other) => other.cost === cost && other.value === value);
      row.querySelector('[data-part="front"]').textContent = cost === null ? "–" : on ? "yes" : "no";
      const cell = element("td", cost === null ? "missing" : "number", cost === null ? "–" : dollars(cost));
      cell.dataset.part = "money";
      if (cost !== null) cell.dataset.value = String(cost);
      row.querySelector('[data-part="money"]')?.remove();
      row.append(cell);
    }
  }

  // Reader and link

  function typed() {
    const text = input.value.trim();
    if (!show(text)) return;
    const price = text === "" ? "" : String(priceOf(text));
    view.set({ price: price === initial ? null : price }, "charts");
  }

  input.addEventListener("input", () => {
    const isBegun = /^(0+\.?0*|\.0*)$/.test(input.value.trim());
    if (!isBegun) typed();
    else told.textContent = ""; // whoever has typed "0." has not finished: what was said is not of it
  });
  input.addEventListener("change", typed);

  function follow() {
    const linked = view.get("price");
    const isPrice = linked === "" || priceOf(linked) !== undefined;
    show(isPrice ? linked : "");
    input.value = (isPrice && linked) || initial;
    if (!isPrice) show(linked);
  }

  pricing.hidden = false;
  view.onChange(follow);
  follow();
})();
