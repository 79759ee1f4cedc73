// The timeline of a target: its last decisions from left to right, evenly spaced, with the reason of
// each on hover and focus.

import { element, shape } from "./dom.js";
import { clock, distance, seconds, sentence } from "./text.js";

const HEIGHT = 132;
const [TOP, BOTTOM] = [30, 26];

/** Returns an age in one unit: `85 s`, `12 min`, `3 h`, `2 d`. */
export function age(passed) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const unit = units.find(([, length]) => passed >= length * 1.5);
  return unit ? `${Math.round(passed / unit[1])} ${unit[0]}` : `${Math.max(0, Math.round(passed))} s`;
}

/** Returns the places of decisions, oldest first: x in percent, y in pixels, and the line's points. */
export function layout(decisions) {
  const sizes = [decisions[0].from, ...decisions.map((it) => it.to)];
  const [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  const room = HEIGHT - TOP - BOTTOM;
  const y = (size) => (high === low ? TOP + room / 2 : TOP + room - ((size - low) / (high - low)) * room);
  const step = 100 / decisions.length;
  const dots = decisions.map((it, index) => ({ x: (index + 0.5) * step, y: y(it.to) }));
  const points = [[0, y(sizes[0])]];
  for (const { x, y } of dots) points.push([x, points.at(-1)[1]], [x, y]);
  points.push([100, points.at(-1)[1]]);
  return { dots, points };
}

/** Returns a decision in a sentence. */
export function decisionText(entry, now) {
  const at = seconds(entry.time);
  const change = entry.from === entry.to ? `stays at ${entry.to}` : `${entry.from} → ${entry.to}`;
  return { change, when: `${clock(at, now)}, ${distance(at, now)}`, why: whyOf(entry) };
}

function whyOf(entry) {
  const parts = [entry.reason, entry.limitedBy === "DesiredWithinRange" ? null : entry.words].filter(Boolean);
  return parts.length > 0 ? sentence(parts.join("; ")) : "No limit applies any more";
}

/** Builds the timeline; `log` has the latest decision first. */
export function timeline(log, now) {
  const decisions = [...log].reverse();
  const { dots, points } = layout(decisions);
  const text = points.map(([x, y]) => `${x},${y}`).join(" ");
  const area = `0,${HEIGHT} ${text} 100,${HEIGHT}`;
  const picture = shape(
    "svg",
    { class: "steps", viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    shape("polygon", { points: area }),
    shape("polyline", { points: text }),
  );
  const bubble = element("div", { class: "bubble", role: "tooltip", hidden: true });
  const track = element("div", { class: "track", role: "group", "aria-label": "Timeline, oldest first; the arrow keys move" });
  track.append(picture);
  const buttons = decisions.map((entry, index) => dot(entry, dots[index], now, track, bubble));
  buttons.forEach((button, index) => (button.tabIndex = index === buttons.length - 1 ? 0 : -1));
  track.append(bubble);
  track.addEventListener("keydown", (event) => move(event, buttons));
  return track;
}

function dot(entry, place, now, track, bubble) {
  const { change, when, why } = decisionText(entry, now);
  const kind = entry.to > entry.from ? "up" : entry.to < entry.from ? "down" : "same";
  const number = element("span", { class: `step-size ${kind}`, "aria-hidden": "true" }, String(entry.to));
  const time = element("span", { class: "step-age", "aria-hidden": "true" }, age(now - seconds(entry.time)));
  const button = element("button", { type: "button", class: `dot ${kind}`, "aria-label": `${change}, ${when}. ${why}` });
  button.style.left = number.style.left = time.style.left = `${place.x}%`;
  button.style.top = number.style.top = `${place.y}px`;
  const tell = () => {
    bubble.replaceChildren(
      element("strong", {}, change),
      element("span", { class: "quiet" }, ` ${when}`),
      element("span", { class: "because" }, why),
    );
    bubble.hidden = false;
    bubble.style.setProperty("--x", `${place.x}%`);
    bubble.style.top = `${place.y + 16}px`;
    bubble.dataset.side = place.x > 50 ? "right" : "left";
  };
  const hide = () => (bubble.hidden = true);
  button.addEventListener("pointerenter", tell);
  button.addEventListener("focus", tell);
  button.addEventListener("pointerleave", () => document.activeElement !== button && hide());
  button.addEventListener("blur", hide);
  track.append(number, button, time);
  return button;
}

function move(event, buttons) {
  const at = buttons.indexOf(event.target);
  const goals = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 };
  const goal = buttons[goals[event.key]];
  if (at < 0 || !goal) return;
  event.preventDefault();
  buttons.forEach((button) => (button.tabIndex = button === goal ? 0 : -1));
  goal.focus();
}
