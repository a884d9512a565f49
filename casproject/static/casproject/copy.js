"use strict";

// Copies a button's data-copy, and says so beside the button and to screen readers.
(() => {
  const FEEDBACK_MS = 2000;

  const status = document.createElement("span");
  status.className = "visually-hidden";
  status.setAttribute("role", "status");
  document.body.append(status);

  async function copy(text) {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return;
    }
    // Browsers hide the clipboard from pages served over plain HTTP.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    if (!isCopied) {
      throw new Error("The browser refused to copy.");
    }
  }

  async function handle(button) {
    let feedback = "Copied";
    try {
      await copy(button.dataset.copy);
    } catch {
      feedback = "Not copied";
    }
    button.focus();
    button.dataset.feedback = feedback;
    status.textContent = feedback;
    clearTimeout(button.feedbackTimer);
    button.feedbackTimer = setTimeout(() => {
      delete button.dataset.feedback;
      status.textContent = "";
    }, FEEDBACK_MS);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".cas-copy");
    if (button) {
      handle(button);
    }
  });
})();
