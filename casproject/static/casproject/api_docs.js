"use strict";

// Shows the document that the page names. Tokens that are typed in stay in the page, and go with it.
const place = document.getElementById("api");

// Its styles have a dark scheme, which this class turns on.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

window.SwaggerUIBundle({
  domNode: place,
  url: place.dataset.document,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null, // asks nobody else
});
