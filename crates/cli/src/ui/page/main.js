// The page: what is known, what is shown, and the keys.

import { byId, element, setText } from "./dom.js";
import { List } from "./list.js";
import { DetailPanel } from "./detail.js";
import { STANDINGS, compare, key, matches, summary, wordsOf } from "./text.js";

/** The time between two questions to the server, in milliseconds. */
const EVERY = 2000;

const rows = new Map();
const list = new List(byId("list"), byId("row"), open);
const panel = new DetailPanel(byId("detail"), close);
let [version, standing, selected] = ["", "", ""];

/** Shows the rows that standing and filter leave, and what they are. */
function show() {
  const all = [...rows.values()].sort(compare);
  const words = wordsOf(byId("filter").value);
  const found = all.filter((row) => matches(row, words));
  const shown = found.filter((row) => standing === "" || row.standing === standing);
  setText(byId("sum"), summary(all));
  showChips(found);
  list.show(shown, selected);
  const empty = byId("empty");
  empty.hidden = shown.length > 0 || all.length === 0;
  setText(empty, "No autoscaler matches. Escape clears the filter.");
}

/** Shows how many rows there are of each standing, as buttons that filter. */
function showChips(found) {
  const numbers = STANDINGS.map(([name]) => found.filter((row) => row.standing === name).length);
  const wanted = [["", "All", found.length], ...STANDINGS.map(([name, label], index) => [name, label, numbers[index]])];
  const chips = byId("chips");
  if (chips.children.length === 0) {
    for (const [name, label] of wanted) chips.append(chip(name, label));
  }
  wanted.forEach(([name, , number], index) => {
    const button = chips.children[index];
    button.hidden = number === 0 && name !== "" && name !== standing;
    button.setAttribute("aria-pressed", String(name === standing));
    setText(button.querySelector(".count"), number.toLocaleString("en"));
  });
}

function chip(name, label) {
  const toggle = () => {
    standing = standing === name ? "" : name;
    show();
  };
  const mark = name === "" ? null : element("span", { class: `mark ${name}`, "aria-hidden": "true" });
  return element("button", { type: "button", class: "chip", onclick: toggle }, mark, label, element("span", { class: "count" }));
}

/** Asks the server for what has changed. */
async function ask() {
  try {
    const response = await fetch(`/api/autoscalers?since=${version}`);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    take(await response.json());
    if (selected !== "") await panel.refresh();
  } catch (error) {
    tell("bad", error instanceof TypeError ? "Not connected: llm-autoscaler ui has ended" : error.message);
  }
}

function take(answer) {
  const isFirst = version === "";
  const isNew = answer.whole || answer.rows.length > 0 || answer.deleted.length > 0;
  if (answer.whole) rows.clear();
  for (const name of answer.deleted) rows.delete(name);
  for (const row of answer.rows) rows.set(key(row), row);
  version = answer.version;
  setText(byId("scope"), answer.scope);
  const rest = answer.leftOff > 0 ? `; ${answer.leftOff} more are not shown` : "";
  if (answer.problem) tell("bad", `Outdated: ${answer.problem}`);
  else if (answer.complete) tell("good", `Live${rest}`);
  else tell("wait", "Reading the cluster…");
  if (answer.whole || answer.deleted.length > 0) list.forget(rows);
  if (answer.complete && (isNew || isFirst)) show();
}

function tell(tone, text) {
  const link = byId("link");
  link.dataset.tone = tone;
  setText(link, text);
}

/** Opens the detail of the row that the address names, or closes it. */
async function follow() {
  const name = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  selected = name.includes("/") ? name : "";
  document.body.classList.toggle("opened", selected !== "");
  list.select(selected);
  await panel.show(selected);
}

function open(name) {
  location.hash = `#/${name}`;
}

function close() {
  const name = selected;
  history.pushState(null, "", location.pathname);
  follow();
  list.focus(name);
}

/** Escape goes one step back: out of the detail, then the filter. */
function escape(event) {
  const filter = byId("filter");
  if (panel.dismiss()) return;
  if (selected !== "" && event.target !== filter) close();
  else if (filter.value !== "" || standing !== "") {
    [filter.value, standing] = ["", ""];
    show();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") escape(event);
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("filter").focus();
  }
  if (event.key === "ArrowDown" && event.target === byId("filter")) {
    event.preventDefault();
    list.focus();
  }
});
byId("filter").addEventListener("input", show);
window.addEventListener("hashchange", follow);
window.addEventListener("popstate", follow);
document.addEventListener("visibilitychange", () => document.hidden || ask());

/** Asks again and again, and not while nobody looks. */
async function run() {
  if (!document.hidden) await ask();
  setTimeout(run, EVERY);
}

await ask();
await follow();
setInterval(() => {
  list.tick();
  panel.tick();
}, 1000);
setTimeout(run, EVERY);
document.documentElement.dataset.ready = String(Math.round(performance.now()));
