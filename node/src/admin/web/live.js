// Takes in the contents of the open page as the node sends them, and says so when it does not.
"use strict";
const live = document.getElementById("live");
const away = document.getElementById("away");
const pause = document.getElementById("pause");
const path = document.body.dataset.live;
// What has the focus or is scrolled is found again by what it is, and not by its place.
const name = (element) => element.id || element.getAttribute("href") || element.getAttribute("aria-labelledby");
const named = (wanted) => [...live.querySelectorAll("a, [tabindex]")].find((element) => name(element) === wanted);
let source = null;
let held = false;

// Whoever is about to click or to copy something keeps what they see.
const isUsed = () => held || pause.getAttribute("aria-pressed") === "true" || live.contains(getSelection().anchorNode)
  && !getSelection().isCollapsed;

function take(contents) {
  const focused = live.contains(document.activeElement) ? name(document.activeElement) : null;
  const scrolled = [...live.querySelectorAll("[tabindex]")].map((element) => [name(element), element.scrollLeft]);
  live.innerHTML = contents;
  for (const [element, left] of scrolled) {
    const again = left && named(element);
    if (again) again.scrollLeft = left;
  }
  const again = focused && named(focused);
  if (again) again.focus({ preventScroll: true });
}

function open() {
  source = new EventSource("/live?page=" + encodeURIComponent(path));
  source.onopen = () => { away.hidden = true; };
  source.onerror = () => {
    away.hidden = false;
    // The node answered, and refused: perhaps somebody has to log in again, which a new page tells.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
  source.onmessage = (event) => {
    away.hidden = true;
    if (!isUsed()) take(event.data);
  };
}

if (live && path) {
  open();
  addEventListener("pointerdown", () => { held = true; });
  addEventListener("pointerup", () => { held = false; });
  addEventListener("pointercancel", () => { held = false; });
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
  });
  // A page that nobody sees asks for nothing.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (!document.hidden) open();
  });
}
