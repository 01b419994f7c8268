// Copy buttons: `<button data-copy="id" hidden>` copies the text of the element with that id. The text is read from
// the page at the moment of the click and kept nowhere.
const FEEDBACK_MS = 2000;

function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("[data-label]");
  const before = label.textContent;
  let after = "Copied";
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without a secure context there is no clipboard: select the text, so that one keystroke is left to do.
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    after = "Press Ctrl+C";
  }
  label.textContent = after;
  announce(after);
  setTimeout(() => {
    label.textContent = before;
    announce("");
  }, FEEDBACK_MS);
}

function reveal(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("htmx:afterSwap", (event) => reveal(event.target));
reveal(document);
