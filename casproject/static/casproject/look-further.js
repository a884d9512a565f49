"use strict";

// Of a page that found no event, and has not looked at all there are: looks further back, a page at a time, until one has.
(() => {
  const TIMEOUT_MS = 15000;
  const PAGE = ".cas-pages[data-further]";

  const pages = document.querySelector(PAGE);
  if (!pages) {
    return;
  }
  const looked = pages.querySelector("[data-looked]");
  const link = pages.querySelector("a[rel=next]");
  const looking = pages.querySelector("[data-looking]");
  let isStopped = false;

  function end(text) {
    isStopped = true;
    looking.hidden = true;
    link.hidden = false;
    looked.append(` ${text}`);
  }

  async function inSight() {
    while (document.hidden) {
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
    }
  }

  async function look() {
    while (!isStopped) {
      await inSight();
      const answer = await fetch(link.href, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) {
        throw new Error(answer.statusText);
      }
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(PAGE);
      if (isStopped) {
        return;
      }
      if (!found) {
        location.replace(link.href); // there is an event, or the trail ends
        return;
      }
      looked.textContent = found.querySelector("[data-looked]").textContent;
      link.search = found.dataset.further;
    }
  }

  link.hidden = true;
  looking.hidden = false;
  looking.querySelector("button").addEventListener("click", () => end("Stopped."));
  look().catch(() => end("The server did not answer."));
})();
