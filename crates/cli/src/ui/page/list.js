// The list: a line for each autoscaler. A line is built once and changed where its row has changed;
// the browser lays out and draws only those in view, and only these get a picture.

import { setText, shape } from "./dom.js";
import { STANDINGS, clock, distance, key, readyText, sentence, sizeText } from "./text.js";

const NAMES = new Map(STANDINGS.map(([name, label]) => [name, label]));
const ROWS_OF_A_PAGE = 10;
const [TREND_WIDTH, TREND_HEIGHT] = [96, 28];

/** Returns the points of a line through past sizes, which end now. */
export function trendPoints(sizes, now, width, height) {
  const changes = sizes.slice(1);
  if (changes.length === 0) return [];
  const begin = changes[0][0];
  const span = Math.max(now - begin, 60) * 1.08;
  const all = sizes.map(([, size]) => size);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const x = (at) => Math.max(0, width - ((now - at) / span) * width);
  const y = (size) => (high === low ? height / 2 : height - ((size - low) / (high - low)) * height);
  const points = [[0, y(sizes[0][1])]];
  for (const [at, size] of changes) points.push([x(at), points.at(-1)[1]], [x(at), y(size)]);
  points.push([width, points.at(-1)[1]]);
  return points;
}

export class List {
  #lines = new Map();
  #shown = [];
  #current = "";

  constructor(root, template, open) {
    [this.root, this.template, this.open] = [root, template, open];
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", (event) => this.#rove(event.target.closest(".row")));
  }

  /** Shows these rows in this order. Other lines are kept for later. */
  show(rows, selected) {
    this.#shown = rows.map(key);
    const wanted = new Set(this.#shown);
    for (const [name, line] of this.#lines) if (!wanted.has(name)) line.item.remove();
    const lines = rows.map((row) => this.#line(row));
    let place = this.root.firstElementChild;
    for (const { item } of lines) {
      if (item === place) place = place.nextElementSibling;
      else this.root.insertBefore(item, place);
    }
    if (!wanted.has(this.#current)) this.#current = this.#shown[0] ?? "";
    this.select(selected);
    this.#setStops();
  }

  /** Forgets the lines of autoscalers that exist no longer. */
  forget(rows) {
    for (const [name, line] of this.#lines) {
      if (rows.has(name)) continue;
      line.item.remove();
      this.#lines.delete(name);
    }
  }

  /** Marks the row whose detail is open. */
  select(name) {
    for (const [other, { anchor }] of this.#lines) {
      if (other === name) anchor.setAttribute("aria-current", "true");
      else anchor.removeAttribute("aria-current");
    }
  }

  /** Moves the focus to a row, or to the one that had it last. */
  focus(name = this.#current) {
    const line = this.#lines.get(name) ?? this.#lines.get(this.#current);
    line?.anchor.focus();
  }

  /** Rewrites the times that are told by their distance. */
  tick() {
    for (const line of this.#lines.values()) if (line.row.at !== null) this.#headline(line);
  }

  #line(row) {
    const name = key(row);
    let line = this.#lines.get(name);
    if (!line) {
      const item = this.template.content.firstElementChild.cloneNode(true);
      const anchor = item.firstElementChild;
      anchor.href = `#/${name.split("/").map(encodeURIComponent).join("/")}`;
      anchor.tabIndex = -1;
      const part = (name) => anchor.querySelector(`.${name}`);
      const parts = Object.fromEntries(
        ["mark", "name", "where", "standing", "headline", "metric", "trend", "number", "ready"].map((it) => [it, part(it)]),
      );
      line = { name, item, anchor, parts, row: null, isSeen: !("oncontentvisibilityautostatechange" in item), drawn: null };
      item.addEventListener("contentvisibilityautostatechange", (event) => {
        line.isSeen = !event.skipped;
        this.#draw(line);
      });
      this.#lines.set(name, line);
    }
    if (line.row !== row) {
      line.row = row;
      this.#fill(line);
    }
    return line;
  }

  #fill(line) {
    const { row, parts } = line;
    line.anchor.className = `row ${row.standing}`;
    parts.mark.className = `mark ${row.standing}`;
    setText(parts.name, row.name);
    setText(parts.where, row.reference ? `${row.namespace} · ${row.reference}` : row.namespace);
    setText(parts.standing, `${NAMES.get(row.standing)}: `);
    setText(parts.metric, row.summary);
    setText(parts.number, sizeText(row));
    setText(parts.ready, readyText(row));
    this.#headline(line);
    this.#draw(line);
  }

  /** Draws the course of the size, of a line in view. */
  #draw(line) {
    const { row, parts } = line;
    if (!line.isSeen || line.drawn === row) return;
    line.drawn = row;
    const points = trendPoints(row.sizes, Date.now() / 1000, TREND_WIDTH, TREND_HEIGHT - 4);
    const path = points.map(([x, y]) => `${x.toFixed(1)},${(y + 2).toFixed(1)}`).join(" ");
    const picture = shape("svg", { viewBox: `0 0 ${TREND_WIDTH} ${TREND_HEIGHT}`, width: TREND_WIDTH, height: TREND_HEIGHT });
    if (path) picture.append(shape("polyline", { points: path }));
    parts.trend.replaceChildren(picture);
  }

  #headline({ row, parts }) {
    const now = Date.now() / 1000;
    const when = row.at === null ? "" : `${clock(row.at, now)}, ${row.at > now ? distance(row.at, now) : "due"}: `;
    setText(parts.headline, when + (when ? row.headline.replaceAll(" -> ", " → ") : sentence(row.headline)));
    if (parts.headline.title !== row.headline) parts.headline.title = row.headline;
  }

  /** Only one line is a stop of the Tab key; the arrows move it. */
  #setStops() {
    for (const [name, { anchor }] of this.#lines) {
      const index = name === this.#current ? 0 : -1;
      if (anchor.tabIndex !== index) anchor.tabIndex = index;
    }
  }

  #rove(anchor) {
    const line = [...this.#lines.values()].find((line) => line.anchor === anchor);
    if (!line || line.name === this.#current) return;
    this.#current = line.name;
    this.#setStops();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.#shown.indexOf(this.#current);
    const last = this.#shown.length - 1;
    const goals = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      j: at + 1,
      k: at - 1,
      PageDown: at + ROWS_OF_A_PAGE,
      PageUp: at - ROWS_OF_A_PAGE,
      Home: 0,
      End: last,
    };
    const goal = goals[event.key];
    if (goal === undefined || last < 0) return;
    event.preventDefault();
    this.focus(this.#shown[Math.min(Math.max(goal, 0), last)]);
  }
}
