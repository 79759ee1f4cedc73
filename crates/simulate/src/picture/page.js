"use strict";

// The bubble of a dot, and the keys that move from dot to dot. Without this script a dot has the
// browser's own tooltip.

const bubble = document.getElementById("bubble");
const GAP = 14;

function tell(dot) {
  bubble.replaceChildren(
    ...dot.getAttribute("aria-label").split("\n").map((line) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = line;
      return paragraph;
    }),
  );
  bubble.hidden = false;
  const place = dot.lastElementChild.getBoundingClientRect();
  const { width, height } = bubble.getBoundingClientRect();
  const room = document.documentElement.clientWidth - width - GAP;
  const isBelow = place.bottom + GAP + height <= innerHeight || place.top < height + GAP;
  const top = isBelow ? place.bottom + GAP : place.top - height - GAP;
  bubble.style.left = `${scrollX + Math.max(GAP, Math.min(place.left - 24, room))}px`;
  bubble.style.top = `${scrollY + top}px`;
}

function hide() {
  bubble.hidden = true;
}

function move(event, dots) {
  const at = dots.indexOf(event.target);
  const goals = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: dots.length - 1 };
  const goal = dots[goals[event.key]];
  if (event.key === "Escape") hide();
  if (at < 0 || !goal) return;
  event.preventDefault();
  for (const dot of dots) dot.setAttribute("tabindex", dot === goal ? "0" : "-1");
  goal.focus();
}

for (const group of document.querySelectorAll(".dots")) {
  const dots = [...group.querySelectorAll(".dot")];
  for (const dot of dots) {
    const title = dot.querySelector("title");
    dot.setAttribute("aria-label", title.textContent);
    title.remove();
    dot.addEventListener("pointerenter", () => tell(dot));
    dot.addEventListener("focus", () => tell(dot));
    dot.addEventListener("blur", hide);
    dot.addEventListener("pointerleave", () => {
      if (document.activeElement !== dot) hide();
    });
  }
  group.addEventListener("keydown", (event) => move(event, dots));
}
document.documentElement.dataset.ready = "true";
