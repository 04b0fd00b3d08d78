"use strict";
// A cell of a matrix, or a pair in the list below it, chooses what the gallery of its section shows.
for (const section of document.querySelectorAll("section[data-run]")) {
  const gallery = section.querySelector("[data-gallery]");
  if (!gallery) continue;
  const items = [...gallery.children];
  const title = section.querySelector("[data-gallery-title]");
  const status = section.querySelector("[data-gallery-status]");
  const reset = section.querySelector("[data-gallery-reset]");
  const buttons = [...section.querySelectorAll("button[data-cell]")];
  const first = title.textContent;
  let opener = null;

  const name = (text) => Object.assign(document.createElement("bdi"), { textContent: text });
  const words = ({ label, predicted }) => [name(label), ...(predicted ? [" taken for ", name(predicted)] : [" recognised"])];

  const show = (button) => {
    const cell = button ? button.dataset.cell : null;
    let shown = 0;
    for (const item of items) {
      item.hidden = cell ? item.dataset.cell !== cell : !("shownFirst" in item.dataset);
      shown += item.hidden ? 0 : 1;
    }
    for (const each of buttons) each.setAttribute("aria-pressed", String(each.dataset.cell === cell));
    title.replaceChildren(...(button ? words(button.dataset) : [first]));
    status.textContent = button ? `${shown} of ${button.dataset.count} are on this page.` : "";
    reset.hidden = !button;
  };

  for (const button of buttons) {
    button.addEventListener("click", () => {
      opener = button;
      show(button);
      title.focus({ preventScroll: true });
      title.scrollIntoView({ block: "start" });
    });
  }
  reset.addEventListener("click", () => {
    show(null);
    opener.focus();
    opener.scrollIntoView({ block: "center" });
  });
}
