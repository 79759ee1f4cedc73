// Texts and times, as pure functions.

/** The standings in the order of the list, with their names. */
export const STANDINGS = [
  ["trouble", "Trouble", "in trouble"],
  ["attention", "Attention", "to look at"],
  ["moving", "Moving", "moving"],
  ["waiting", "Waiting", "waiting"],
  ["recommending", "Recommending", "recommending"],
  ["paused", "Paused", "paused"],
  ["zero", "At zero", "at zero"],
  ["steady", "Steady", "steady"],
];

const ORDER = new Map(STANDINGS.map(([key], index) => [key, index]));

// One for all comparisons: to make one takes longer than to compare.
const NAMES = new Intl.Collator("en", { numeric: true });

/** Compares two rows: troubles first, then those that are moving, then by name. */
export function compare(a, b) {
  return (
    ORDER.get(a.standing) - ORDER.get(b.standing) ||
    NAMES.compare(a.namespace, b.namespace) ||
    NAMES.compare(a.name, b.name)
  );
}

/** Returns the key of a row, which is its address in the page too. */
export const key = (row) => `${row.namespace}/${row.name}`;

/** Returns whether a row has all words of a filter in it. */
export function matches(row, words) {
  const text = `${key(row)} ${row.reference} ${row.headline} ${row.summary}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Returns the filter's words. */
export const wordsOf = (filter) => filter.toLowerCase().split(/\s+/).filter(Boolean);

/** Returns a sentence for people: arrows, and the first letter in upper case. */
export function sentence(text) {
  const arrows = text.replaceAll(" -> ", " → ");
  return arrows.charAt(0).toUpperCase() + arrows.slice(1);
}

/** Returns a duration in seconds: `45 s`, `5 min`, `1 h 30 min`, `3 d`. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
  if (days > 0) return hours > 0 && days < 10 ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes > 0 ? `${hours} h ${minutes} min` : `${hours} h`;
  if (minutes > 0) return minutes < 5 && rest > 0 ? `${minutes} min ${rest} s` : `${minutes} min`;
  return `${rest} s`;
}

/** Returns how far a time is away, both in seconds since 1970. */
export function distance(at, now) {
  if (at > now) return `in ${duration(at - now)}`;
  return now - at < 1 ? "now" : `${duration(now - at)} ago`;
}

/** Returns a time of day, with the date if it is of another day. */
export function clock(at, now) {
  const [time, today] = [new Date(at * 1000), new Date(now * 1000)];
  const text = time.toLocaleTimeString("en-GB");
  const sameDay = time.toDateString() === today.toDateString();
  return sameDay ? text : `${time.toLocaleDateString("en-CA")} ${text}`;
}

/** Returns the seconds since 1970 of a time as Kubernetes writes it. */
export const seconds = (text) => Date.parse(text) / 1000;

/** Returns a count with its noun. */
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/** Returns the sentence above the list: what needs a person, and what is changing. */
export function summary(rows) {
  const all = rows.length;
  if (all === 0) return "There are no autoscalers here.";
  const number = (...names) => rows.filter((row) => names.includes(row.standing)).length;
  const [wrong, moving] = [number("trouble", "attention"), number("moving")];
  const moves = moving === 0 ? "" : `${moving.toLocaleString("en")} ${moving === 1 ? "is" : "are"} moving`;
  if (wrong > 0) {
    const needs = `${wrong.toLocaleString("en")} of ${all.toLocaleString("en")} ${wrong === 1 ? "needs" : "need"} a look`;
    return moves ? `${needs}, ${moves}.` : `${needs}.`;
  }
  return moves ? `All is well, ${moves}.` : "All is well.";
}

/** Returns the size of a row in words: `4 → 6`, or `4`. */
export function sizeText(row) {
  if (row.current === null) return "–";
  const isWritten = row.standing !== "paused" && row.standing !== "recommending";
  const changes = row.desired !== null && row.desired !== row.current && isWritten;
  return changes ? `${row.current} → ${row.desired}` : `${row.current}`;
}

/** Returns what there is to say about the readiness of a row. */
export function readyText(row) {
  if (row.current === null) return "";
  return row.ready < row.current ? `${row.ready} ready` : `max ${row.max}`;
}

/**
 * Returns a bill as shares, largest first, and what they are shares of: GPU-hours where GPUs are
 * known, else replica-hours, and seconds of them below an hour in all. A bill of another version
 * may lack anything.
 */
export function billShares(bill) {
  const reasons = Array.isArray(bill?.reasons) ? bill.reasons : [];
  const numberOf = (it, field) => (typeof it?.[field] === "number" ? Math.max(0, it[field]) : 0);
  const sum = (field) => reasons.reduce((total, it) => total + numberOf(it, field), 0);
  const field = sum("gpuSeconds") > 0 ? "gpuSeconds" : "replicaSeconds";
  const total = sum(field);
  const isYoung = total < 3600;
  const amount = (seconds) => (isYoung ? seconds : seconds / 3600);
  const shares = reasons
    .map((it) => ({ reason: inWords(String(it?.reason ?? "unknown")), seconds: numberOf(it, field) }))
    .filter(({ seconds }) => seconds > 0)
    .map(({ reason, seconds }) => ({ reason, amount: amountText(amount(seconds), isYoung), part: seconds / total }))
    .sort((a, b) => b.part - a.part);
  const unit = `${field === "gpuSeconds" ? "GPU" : "replica"}-${isYoung ? "seconds" : "hours"}`;
  return { unit, total: amountText(amount(total), isYoung), shares };
}

/** Returns a number of hours, or of whole seconds. */
function amountText(amount, isWhole) {
  const digits = isWhole || amount >= 10 ? 0 : 2;
  return amount.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Returns a name of the status in words: `HeldByWindow` becomes `held by window`. */
export function inWords(name) {
  const apart = name.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/([A-Z])([A-Z][a-z])/g, "$1 $2");
  return apart.replace(/[_-]/g, " ").toLowerCase();
}
