// One dialog for the whole page: whatever htmx swaps into it is shown, and it closes with Esc or a `data-close` link.
const dialog = document.getElementById("dialog");
let opener = null;

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.target === dialog) opener = event.detail.elt;
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== dialog || dialog.open) return;
  const heading = dialog.querySelector("h1, h2");
  if (heading?.id) dialog.setAttribute("aria-labelledby", heading.id);
  dialog.showModal();
});
dialog?.addEventListener("click", (event) => {
  const isOutside = event.target === dialog;
  if (isOutside || event.target.closest("[data-close]")) {
    event.preventDefault();
    dialog.close();
  }
});
dialog?.addEventListener("close", () => {
  dialog.replaceChildren(); // nothing that was shown stays in the page
  opener?.focus();
});
