"use strict";
// What the page's parts share. Model output is only ever set as textContent.

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What the reader chose, all of it in the URL's hash (#section?key=value&...), so that a link reproduces
// the page as it is seen. Each part reads and writes its own keys; a key without a value is at its default.
const view = (() => {
  const listeners = [];
  let query = new URLSearchParams();
  let section = "";

  function read() {
    const [anchor, rest] = location.hash.slice(1).split(/\?(.*)/s);
    section = anchor;
    // A section's anchor leaves what was chosen as it is; going back to the bare page forgets it.
    if (rest !== undefined || anchor === "") query = new URLSearchParams(rest ?? "");
    else if (query.size) history.replaceState(null, "", link({}));
    if (rest !== undefined) document.getElementById(section)?.scrollIntoView();
  }

  function changed(changes) {
    const wanted = new URLSearchParams(query);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === "") wanted.delete(key);
      else wanted.set(key, value);
    }
    return wanted;
  }

  // The hash of this view with changes ({key: value, or null for its default}).
  function link(changes, where = section) {
    const wanted = changed(changes);
    return wanted.size ? `#${where}?${wanted}` : `#${where}`;
  }

  window.addEventListener("hashchange", () => {
    read();
    listeners.forEach((listener) => listener());
  });
  // A link to a view of the examples leaves the rest of what was chosen as it is, but for where in them one was.
  document.addEventListener("click", (event) => {
    const dig = event.target.closest?.("a.dig");
    if (!dig || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const wanted = Object.fromEntries(new URLSearchParams(dig.hash.split("?")[1]));
    const anew = { show: null, judge: null, order: null, find: null, page: null, example: null };
    location.hash = link({ ...anew, ...wanted }, "examples");
  });
  read();
  // What scripts draw moves the place that a link leads to.
  window.addEventListener("load", () => query.size && document.getElementById(section)?.scrollIntoView());

  return {
    get: (key) => query.get(key) ?? "",
    link,
    // Keep changes as chosen in a section; asks no listener.
    set(changes, where) {
      section = where;
      query = changed(changes);
      history.replaceState(null, "", link({}));
    },
    // Called when the URL was changed by hand, by a link or by going back.
    onChange: (listener) => listeners.push(listener),
  };
})();
