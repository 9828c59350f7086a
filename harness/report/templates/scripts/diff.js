// Word by word comparison of two texts (Myers 1986, "An O(ND) Difference Algorithm"). Texts in, pieces out.
const wordDiff = (() => {
  const MOST_WORDS = 20000;
  const MOST_EDITS = 1500;
  // Scripts that set no blanks between words are compared sign by sign.
  const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
  const WORD = new RegExp([
    `[${UNSPACED}]\\p{M}*`,
    `(?:(?![${UNSPACED}])[\\p{L}\\p{N}\\p{M}_]|(?<=\\p{L})['’](?=\\p{L})|(?<=\\p{N})[.,](?=\\p{N}))+`,
    "\\s+",
    "\\p{Extended_Pictographic}(?:[\\u200d\\ufe0f\\p{Emoji_Modifier}]|\\p{Extended_Pictographic})*",
    ".\\p{M}*",
  ].join("|"), "gsu");

  function split(text) {
    return text.match(WORD) ?? [];
  }

  const isBlank = (word) => !word.trim();

  // For each text its pieces [text, whether the other lacks it], whose texts joined are the text itself, and
  // how many words (not signs) those are; null where the texts are too long or too unlike to be compared in reasonable time.
  function compare(left, right) {
    if (left === right) return [whole(left), whole(right)];
    if (left.length + right.length > 12 * MOST_WORDS) return null;
    const [a, b] = [split(left), split(right)];
    const [x, y] = [a, b].map((words) => words.filter((word) => !isBlank(word)));
    if (x.length + y.length > MOST_WORDS) return null;
    let start = 0;
    while (start < x.length && start < y.length && x[start] === y[start]) start += 1;
    let end = 0;
    while (end < x.length - start && end < y.length - start && x[x.length - 1 - end] === y[y.length - 1 - end]) end += 1;
    const kept = shared(x.slice(start, x.length - end), y.slice(start, y.length - end));
    if (!kept) return null;
    return [a, b].map((words, side) => {
      const own = side === 0 ? x : y;
      const flags = new Uint8Array(own.length).fill(1);
      flags.fill(0, 0, start);
      flags.fill(0, own.length - end);
      kept.forEach((pair) => { flags[start + pair[side]] = 0; });
      return pieces(words, flags);
    });
  }

  function whole(text) {
    return { pieces: text ? [[text, false]] : [], count: 0 };
  }

  // Blanks between two words that are lacking belong to them; other blanks do not.
  function pieces(words, flags) {
    const made = [];
    let at = 0;
    let count = 0;
    words.forEach((word, index) => {
      const lacking = isBlank(word)
        ? index > 0 && index < words.length - 1 && flags[at - 1] === 1 && flags[at] === 1
        : flags[at++] === 1;
      if (lacking && /[\p{L}\p{N}]/u.test(word)) count += 1;
      const last = made.at(-1);
      if (last && last[1] === lacking) last[0] += word;
      else made.push([word, lacking]);
    });
    return { pieces: made, count };
  }

  // [place in x, place in y] of the words of a longest common subsequence; null beyond MOST_EDITS.
  function shared(x, y) {
    const [n, m] = [x.length, y.length];
    const most = Math.min(n + m, MOST_EDITS);
    const middle = most + 1;
    const reach = new Int32Array(2 * most + 3);
    const trail = [];
    for (let edits = 0; edits <= most; edits += 1) {
      trail.push(reach.slice(middle - edits - 1, middle + edits + 2));
      for (let k = -edits; k <= edits; k += 2) {
        const down = k === -edits || (k !== edits && reach[middle + k - 1] < reach[middle + k + 1]);
        let i = down ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
        while (i < n && i - k < m && x[i] === y[i - k]) i += 1;
        reach[middle + k] = i;
        if (i >= n && i - k >= m) return walked(trail, n, m);
      }
    }
    return null;
  }

  // The way back along the furthest reaches: `trail[edits]` holds diagonals -edits-1 to edits+1.
  function walked(trail, n, m) {
    const kept = [];
    let [i, j] = [n, m];
    for (let edits = trail.length - 1; edits >= 0 && (i > 0 || j > 0); edits -= 1) {
      const before = trail[edits];
      const at = (diagonal) => before[diagonal + edits + 1];
      const k = i - j;
      const down = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
      const from = edits === 0 ? 0 : down ? at(k + 1) : at(k - 1);
      const stop = edits === 0 ? 0 : down ? from : from + 1;
      while (i > stop) {
        i -= 1;
        j -= 1;
        kept.push([i, j]);
      }
      [i, j] = [from, from - (down ? k + 1 : k - 1)];
    }
    return kept;
  }

  return { compare };
})();
