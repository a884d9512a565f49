"use strict";

// Names for what Django's own widgets leave without one: screen readers would say "edit text" of them.
addEventListener("load", () => {
  for (const input of document.querySelectorAll(".vDateField, .vTimeField")) {
    const field = input.closest(".form-row, fieldset")?.querySelector("legend, label")?.textContent ?? "";
    if (!input.labels.length && !input.hasAttribute("aria-label")) {
      const kind = input.classList.contains("vDateField") ? "date" : "time";
      input.setAttribute("aria-label", `${field.trim().replace(/:$/, "")}, ${kind}`);
    }
  }
  for (const icon of document.querySelectorAll(".help-tooltip[aria-label]:not([role])")) {
    icon.setAttribute("role", "img");
  }
  for (const box of document.querySelectorAll(".select2-container")) {
    const label = box.previousElementSibling?.labels?.[0]?.textContent.trim().replace(/:$/, "");
    for (const part of label ? box.querySelectorAll("[role=combobox], [role=textbox], [role=searchbox]") : []) {
      part.setAttribute("aria-label", label);
    }
  }
});
