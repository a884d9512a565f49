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
});

// Select2 makes its boxes when it pleases, leaves their fields without a name, and puts a button into a list.
addEventListener("DOMContentLoaded", () => {
  const selects = () => document.querySelectorAll("select.admin-autocomplete");
  const mend = () => {
    for (const select of selects()) {
      const box = select.nextElementSibling;
      if (!box?.classList.contains("select2")) {
        continue;
      }
      const name = select.labels[0]?.textContent.replace(/:\s*$/, "").trim() || select.name;
      for (const field of box.querySelectorAll(".select2-search__field, [role=combobox], [role=textbox]")) {
        field.setAttribute("aria-label", name);
      }
      for (const button of box.querySelectorAll("ul .select2-selection__clear")) {
        button.remove(); // each choice has one of its own
      }
    }
  };
  if (selects().length) {
    mend();
    new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
  }
});
