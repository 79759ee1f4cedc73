// The detail of one autoscaler: why not more, why not fewer, what happens next; metrics, decisions,
// conditions and the bill. A section is built again only where its data has changed.

import { element, setText } from "./dom.js";
import { decisionText, timeline } from "./timeline.js";
import { STANDINGS, billShares, clock, count, distance, duration, seconds, sentence, sizeText } from "./text.js";

const now = () => Date.now() / 1000;

export class DetailPanel {
  #name = "";
  #told = new Map();

  constructor(root, close) {
    [this.root, this.close] = [root, close];
  }

  /** Shows an autoscaler, or nothing without a name. */
  async show(name) {
    if (name === this.#name) return;
    this.#name = name;
    this.#told.clear();
    this.root.replaceChildren();
    this.root.hidden = name === "";
    if (name === "") return;
    await this.refresh();
    this.root.scrollTop = 0;
    this.root.querySelector("h2")?.focus({ preventScroll: true });
  }

  /** Asks the server for the detail that is shown. */
  async refresh() {
    const name = this.#name;
    const response = await fetch(`/api/autoscalers/${name.split("/").map(encodeURIComponent).join("/")}`);
    const data = response.ok ? await response.json() : null;
    if (name !== this.#name) return;
    if (data === null) this.#gone();
    else this.#fill(data);
  }

  /** Hides what hangs over the panel; returns whether there was something. */
  dismiss() {
    const bubble = this.root.querySelector(".bubble:not([hidden])");
    if (bubble) bubble.hidden = true;
    return Boolean(bubble);
  }

  /** Rewrites the times that are told by their distance. */
  tick() {
    for (const node of this.root.querySelectorAll("[data-at]")) setText(node, moment(Number(node.dataset.at)));
  }

  #gone() {
    this.#told.clear();
    const [, name] = this.#name.split("/");
    this.root.replaceChildren(this.#bar(), element("h2", { id: "detail-name", tabindex: "-1" }, name), element("p", { class: "quiet" }, "There is no such autoscaler, or no longer."));
  }

  #fill(data) {
    if (this.#told.size === 0) this.root.replaceChildren(this.#bar());
    this.#put("head", head, [data.name, data.namespace, data.reference, data.standing, data.headline, data.at, data.current, data.desired, data.ready, data.bounds, data.isOutdated]);
    const several = data.targets.length > 1;
    for (const target of data.targets) {
      const of = several ? target.name : "";
      this.#put(`answers ${target.name}`, answers, [of, target.more, target.fewer, target.next, target.nextAt]);
      this.#put(`metrics ${target.name}`, metrics, [target.metrics]);
      this.#put(`log ${target.name}`, decisions, [target.log]);
      if (target.bill) this.#put(`bill ${target.name}`, bill, [target.bill]);
    }
    this.#put("conditions", conditions, [data.conditions]);
    this.#put("hint", hint, [data.namespace, data.name]);
  }

  /** Builds a section if its data has changed, at its place. */
  #put(name, build, data) {
    const text = JSON.stringify(data);
    const old = this.#told.get(name);
    if (old?.text === text) return;
    const node = build(...data);
    if (old) {
      const open = old.node.querySelector("details")?.open;
      if (open) node.querySelector("details")?.setAttribute("open", "");
      const focused = old.node.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
      old.node.replaceWith(node);
      if (focused !== null) node.querySelector("button, [tabindex]")?.focus({ preventScroll: true });
    } else {
      this.root.append(node);
    }
    this.#told.set(name, { text, node });
  }

  #bar() {
    const button = element("button", { type: "button", class: "close", onclick: this.close }, element("span", { "aria-hidden": "true" }, "←"), " All autoscalers");
    return element("div", { class: "bar" }, button, element("kbd", { "aria-hidden": "true" }, "Esc"));
  }
}

function moment(at) {
  const present = now();
  return `${clock(at, present)} (${at > present ? distance(at, present) : "due"})`;
}

function head(name, namespace, reference, standing, headline, at, current, desired, ready, bounds, isOutdated) {
  const label = STANDINGS.find(([key]) => key === standing)[1];
  const where = [namespace, reference].filter(Boolean).join(" · ");
  const node = element(
    "header",
    { class: `head ${standing}` },
    element("h2", { id: "detail-name", tabindex: "-1" }, name),
    element("p", { class: "quiet" }, where),
    element("p", { class: "badge" }, element("span", { class: `mark ${standing}`, "aria-hidden": "true" }), element("strong", {}, label), element("span", {}, sentence(headline))),
  );
  if (current !== null) {
    const figures = [["requested", sizeText({ current, desired, standing })], ["ready", String(ready)]];
    const list = element("dl", { class: "figures" }, ...figures.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));
    node.append(list, element("p", { class: "quiet" }, `${sentence(bounds)}.`));
  }
  if (isOutdated) node.append(element("p", { class: "quiet" }, "The spec has changed since; this is about the one before."));
  return node;
}

function answers(role, more, fewer, next, nextAt) {
  const pair = (question, answer, at) =>
    element("div", {}, element("dt", {}, question), element("dd", {}, at === null ? null : element("time", { class: "when", "data-at": at }, moment(at)), sentence(answer)));
  const list = element("dl", { class: "answers" }, pair("Why not more?", more, null), pair("Why not fewer?", fewer, null), pair("What happens next?", next, nextAt));
  return section(role === "" ? null : `Role ${role}`, list);
}

function section(title, ...children) {
  return element("section", {}, title === null ? null : element("h3", {}, title), ...children);
}

function metrics(list) {
  if (list.length === 0) return section(null);
  const row = (metric) => {
    const proposal = metric.proposal === undefined ? "–" : String(metric.proposal);
    const origin = [metric.series, metric.source && `by ${metric.source}`].filter(Boolean).join(" · ");
    const more = metric.error ?? missing(metric.replicas);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, metric.name, element("span", { class: "origin" }, origin), more ? element("span", { class: "origin bad" }, sentence(more)) : null),
      element("td", {}, metric.current ?? "unknown"),
      element("td", {}, metric.target),
      element("td", {}, proposal),
    );
  };
  const heads = ["Metric", "Value", "Target", "Asks for"].map((text) => element("th", { scope: "col" }, text));
  return section("Metrics", element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...list.map(row))));
}

/** Returns what the samples of a metric lack. */
function missing(replicas) {
  if (!replicas) return null;
  const parts = [["missing", replicas.missing], ["not ready", replicas.notReady], ["stuck", replicas.stuck]].filter(([, number]) => number > 0);
  return parts.length === 0 ? null : `${count(replicas.used, "replica")} counted, ${parts.map(([what, number]) => `${number} ${what}`).join(", ")}`;
}

function decisions(log) {
  if (log.length === 0) return section("Decisions", element("p", { class: "quiet" }, "None has changed the size yet."));
  const present = now();
  const entry = (it) => {
    const { change, when, why } = decisionText(it, present);
    return element("li", {}, element("span", { class: "change" }, change), element("span", { class: "quiet" }, when), element("span", { class: "because" }, why));
  };
  return section("Decisions", timeline(log, present), element("ol", { class: "log" }, ...log.map(entry)));
}

function conditions(list) {
  const line = (it) =>
    element(
      "li",
      { class: it.tone },
      element("span", { class: "words" }, it.words),
      element("span", { class: "message" }, sentence(it.message)),
      element("span", { class: "quiet" }, `${it.type}=${it.status} ${it.reason}, for ${duration(now() - seconds(it.since))}`),
    );
  const [unusual, usual] = [list.filter((it) => it.tone !== "fine"), list.filter((it) => it.tone === "fine")];
  const node = section("Conditions");
  if (unusual.length > 0) node.append(element("ul", { class: "conditions" }, ...unusual.map(line)));
  if (usual.length > 0) {
    node.append(element("details", {}, element("summary", {}, `${count(usual.length, "condition")} as usual`), element("ul", { class: "conditions" }, ...usual.map(line))));
  }
  return node;
}

/** Shows what the replicas were for, as shares of a bar and as numbers. */
function bill(data) {
  const { unit, total, shares } = billShares(data);
  if (shares.length === 0) return section(null);
  const bar = element("div", { class: "shares", "aria-hidden": "true" });
  const list = element("ul", { class: "bill" });
  shares.forEach(({ reason, amount, part }, index) => {
    const colour = `share s${index % 6}`;
    const piece = element("span", { class: colour });
    piece.style.flexGrow = String(part);
    bar.append(piece);
    const percent = `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;
    list.append(element("li", {}, element("span", { class: colour, "aria-hidden": "true" }), element("span", {}, reason), element("span", { class: "number" }, percent), element("span", { class: "quiet number" }, amount)));
  });
  const covered = typeof data.coveredSeconds === "number" ? ` in ${duration(data.coveredSeconds)}` : "";
  return section("The bill", element("p", { class: "quiet total" }, `${total} ${unit}${covered}, by why the replicas existed`), bar, list);
}

function hint(namespace, name) {
  return element("p", { class: "hint quiet" }, "In a terminal: ", element("code", {}, `llm-autoscaler explain ${name} -n ${namespace}`));
}
