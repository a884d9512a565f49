"use strict";

// Asks for new events every few seconds, and puts them on top. Nothing is asked while paused or out of sight.
(() => {
  const EVERY_MS = 2000;
  const LONGEST_MS = 60000; // between tries, while the server does not answer
  const TIMEOUT_MS = 15000;
  const OVERLAP_MS = 15000; // longer than an event's transaction takes: ids are given before they are committed
  const MOST_ROWS = 200;

  const page = document.querySelector(".cas-live");
  const body = page.querySelector("[data-rows]");
  const status = page.querySelector("[data-status]");
  const light = page.querySelector("[data-light]");
  const none = page.querySelector("[data-none]");
  const toggle = page.querySelector("[data-toggle]");

  const seen = new Set(Array.from(body.rows, (row) => Number(row.dataset.id)));
  // What was the newest event, and when; the first that is old enough says from where on to ask.
  let marks = [{ at: Date.now(), id: Number(page.dataset.newest) }];
  let after = Number(page.dataset.after);
  let isPaused = false;
  let isAsking = false;
  let failures = 0;
  let timer = 0;

  function say(text, state) {
    light.dataset.light = state;
    if (status.textContent !== text) {
      status.textContent = text;
    }
  }

  function schedule() {
    clearTimeout(timer);
    if (isPaused || document.hidden) {
      return;
    }
    const wait = failures ? Math.min(EVERY_MS * 2 ** failures, LONGEST_MS) : EVERY_MS;
    timer = setTimeout(ask, wait);
    if (failures) {
      say(`The server does not answer; next try in ${Math.round(wait / 1000)} seconds.`, "failing");
    }
  }

  async function ask() {
    if (isAsking) {
      return;
    }
    isAsking = true;
    const asked = Date.now();
    try {
      const url = new URL(page.dataset.source, location.href);
      url.searchParams.set("after", after);
      const options = { headers: { Accept: "application/json" }, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) };
      const response = await fetch(url, options);
      if (response.type === "opaqueredirect" || response.status === 403) {
        stop("You are signed out, or may no longer see this. Reload the page.");
        return;
      }
      if (!response.ok) {
        throw new Error(`status ${response.status}`);
      }
      const answer = await response.json();
      failures = 0;
      show(answer);
      remember(asked, answer.newest);
    } catch {
      failures += 1;
    } finally {
      isAsking = false;
    }
    schedule();
  }

  function show(answer) {
    const newest = marks[marks.length - 1].id;
    const isAnyMissing = answer.is_cut && !answer.rows.some((row) => row.id <= newest);
    const fresh = answer.rows.filter((row) => !seen.has(row.id));
    for (const row of fresh.reverse()) {
      const template = document.createElement("template");
      template.innerHTML = row.html; // escaped by the server, as every page's
      const element = template.content.firstElementChild;
      element.classList.add("cas-fresh");
      body.prepend(element);
      seen.add(row.id);
    }
    while (body.rows.length > MOST_ROWS) {
      body.lastElementChild.remove();
    }
    none.hidden = body.rows.length > 0;
    if (isPaused || document.hidden) {
      return; // it was asked before that; the page goes on saying so
    }
    const what = fresh.length === 1 ? "1 new event" : `${fresh.length} new events`;
    if (isAnyMissing) {
      say(`${what}, and there were more than are shown.`, "live");
    } else {
      say(fresh.length ? `${what}.` : "Live.", "live");
    }
  }

  // Events below `after` are never asked for again, so they need not be known either.
  function remember(at, id) {
    marks.push({ at, id });
    while (marks.length > 1 && marks[1].at <= at - OVERLAP_MS) {
      marks.shift();
    }
    if (marks[0].at <= at - OVERLAP_MS) {
      after = Math.max(after, marks[0].id);
    }
    for (const known of seen) {
      if (known <= after) {
        seen.delete(known);
      }
    }
  }

  function stop(text) {
    isPaused = true;
    toggle.hidden = true;
    clearTimeout(timer);
    say(text, "failing");
  }

  function update() {
    toggle.textContent = isPaused ? "Resume" : "Pause";
    clearTimeout(timer);
    if (isPaused) {
      say("Paused.", "off");
    } else if (document.hidden) {
      say("Paused while out of sight.", "off");
    } else {
      failures = 0;
      say("Live.", "live");
      ask();
    }
  }

  toggle.addEventListener("click", () => {
    isPaused = !isPaused;
    update();
  });
  document.addEventListener("visibilitychange", () => {
    if (!isPaused) {
      update();
    }
  });
  toggle.hidden = false;
  update();
})();
