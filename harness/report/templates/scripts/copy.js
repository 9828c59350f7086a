// Buttons that copy the text of an element, and say so. Without a script there are none: the text can be selected.
(() => {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const said = button.parentElement.querySelector("[role=status]");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      const copied = (await byClipboard(source.textContent)) || bySelection(source);
      said.textContent = "";
      // Said anew on every press, also where it says the same.
      requestAnimationFrame(() => {
        said.textContent = copied ? "Copied" : "Selected: copy it with Ctrl+C or ⌘C";
      });
    });
  }

  async function byClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // some browsers have no clipboard for a page that was opened from disk, or refuse it
    }
  }

  function bySelection(source) {
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    // A selection would leave out the last line's end; where copying fails it is there to be copied by hand.
    const exactly = (event) => {
      event.clipboardData.setData("text/plain", source.textContent);
      event.preventDefault();
    };
    document.addEventListener("copy", exactly);
    try {
      return document.execCommand("copy");
    } catch {
      return false;
    } finally {
      document.removeEventListener("copy", exactly);
    }
  }
})();
