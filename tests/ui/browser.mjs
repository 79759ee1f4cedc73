// A headless browser, and what every page of it must be: without errors, and within its window.

import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { mkdtempSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const modules = process.env.UI_MODULES;
const require = createRequire(join(modules, "package.json"));
const { chromium: playwright } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** The folder of the pictures. */
export const pictures = process.env.UI_PICTURES ?? mkdtempSync(join(tmpdir(), "ui-"));
mkdirSync(pictures, { recursive: true });

/** The problems so far. */
export const problems = [];

/** Notes a problem unless something holds. */
export function expect(holds, text) {
  if (!holds) problems.push(text);
}

/** Starts the browser. */
export function launch() {
  const executablePath = join(modules, "browser/chromium");
  // A container of tests has no user namespaces, and little shared memory.
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"];
  // The same font everywhere, so that pictures and line breaks are the same. Its folder may have been
  // moved since it was installed.
  const folder = mkdtempSync(join(tmpdir(), "ui-fonts-"));
  const fonts = join(modules, "node_modules/@expo-google-fonts/inter");
  const config = join(folder, "fonts.conf");
  writeFileSync(config, `<?xml version="1.0"?>\n<fontconfig><dir>${fonts}</dir><cachedir>${folder}</cachedir></fontconfig>\n`);
  const env = { ...process.env, FONTCONFIG_FILE: config };
  return playwright.launch({ executablePath, args, env, headless: true });
}

/** Opens the page in a window; errors of any kind become problems. */
export async function visit(browser, url, { width, height = 900, theme = "light", scale = 1 }) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: theme, deviceScaleFactor: scale, locale: "en-GB", reducedMotion: "reduce",
  });
  const page = await context.newPage();
  const place = `${width} px, ${theme}`;
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(`${place}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`${place}: ${error}`));
  page.on("requestfailed", (request) => problems.push(`${place}: ${request.url()} failed`));
  page.on("request", (request) => expect(new URL(request.url()).hostname === "127.0.0.1", `${place}: it asks ${request.url()}`));
  await page.goto(url);
  if (url !== "about:blank") await page.waitForFunction(() => document.documentElement.dataset.ready);
  return page;
}

/** Notes texts that are cut off without a way to see them, and a page that is wider than its window. */
export async function checkLayout(page, place) {
  const found = await page.evaluate(() => {
    const wide = [];
    const room = document.documentElement.clientWidth;
    const title = document.createRange();
    title.selectNodeContents(document.querySelector("h1"));
    if (title.getBoundingClientRect().width === 0) wide.push("texts have no letters: is the font there?");
    if (document.documentElement.scrollWidth > room) wide.push(`the page is ${document.documentElement.scrollWidth} px wide`);
    for (const node of document.querySelectorAll("body *")) {
      const box = node.getBoundingClientRect();
      if (box.width === 0 || box.height === 0 || node.closest(".unseen, .skip, svg")) continue;
      const style = getComputedStyle(node);
      const name = `${node.tagName.toLowerCase()}.${node.className}`;
      if (box.right > room + 1 || box.left < -1) wide.push(`${name} reaches from ${box.left} to ${box.right}`);
      const isCut = node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0;
      const hides = style.overflowX !== "visible" && style.overflowX !== "auto";
      // A name that ends in an ellipsis is whole in the detail.
      if (isCut && hides && style.textOverflow !== "ellipsis") wide.push(`${name} cuts off ${node.textContent}`);
    }
    return wide;
  });
  problems.push(...found.map((text) => `${place}: ${text}`));
}

/** Notes what axe-core finds: contrast, names, roles, order of headings. */
export async function checkAccess(page, place) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} ${node.any.map((it) => it.message)}`));
  });
  problems.push(...violations.map((text) => `${place}: ${text}`));
}

/** Saves a picture. */
export const picture = (page, name) => page.screenshot({ path: join(pictures, `${name}.png`) });
