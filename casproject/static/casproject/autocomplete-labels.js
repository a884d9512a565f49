/* Select2 leaves its fields without a name, and puts a button into a list: what screen readers stumble over. */

"use strict";

{
    const mend = (select) => {
        const shown = select.nextElementSibling;
        if (!shown?.classList.contains("select2")) {
            return; // not yet: it comes when it pleases
        }
        const name = select.labels[0]?.textContent.replace(/:\s*$/, "").trim() || select.name;
        for (const field of shown.querySelectorAll(".select2-search__field, [role=combobox], [role=textbox]")) {
            field.setAttribute("aria-label", name);
        }
        for (const button of shown.querySelectorAll("ul .select2-selection__clear")) {
            button.remove(); // each choice has one of its own
        }
    };
    const mendAll = () => document.querySelectorAll("select.admin-autocomplete").forEach(mend);

    document.addEventListener("DOMContentLoaded", () => {
        mendAll();
        new MutationObserver(mendAll).observe(document.body, { childList: true, subtree: true });
    });
}
