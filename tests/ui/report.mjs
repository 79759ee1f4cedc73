// node report.mjs FILE: looks at a page of `llm-autoscaler simulate --html`.
//
// UI_MODULES is the folder of install.sh, UI_PICTURES that of the pictures. The last line on standard
// output is the result; problems are printed before it and end the program with 1.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { checkAccess, checkLayout, expect, launch, picture, problems, visit } from "./browser.mjs";

const WIDTHS = [360, 768, 1440];
const THEMES = ["light", "dark"];

/** Notes texts of the plots that reach out of the window or meet other texts of their plot. */
async function checkPlots(page, place) {
  const found = await page.evaluate(() => {
    const wide = [];
    const room = document.documentElement.clientWidth;
    for (const plot of document.querySelectorAll(".plot")) {
      const texts = [...plot.querySelectorAll("text")].map((node) => [node.textContent, node.getBoundingClientRect()]);
      const seen = texts.filter(([, box]) => box.width > 0);
      for (const [text, box] of seen) if (box.right > room || box.left < 0) wide.push(`${text} reaches from ${box.left} to ${box.right}`);
      seen.forEach(([text, box], at) => {
        for (const [other, its] of seen.slice(at + 1)) {
          const meets = box.left < its.right - 1 && its.left < box.right - 1 && box.top < its.bottom - 5 && its.top < box.bottom - 5;
          if (meets) wide.push(`${text} meets ${other}`);
        }
      });
    }
    return wide;
  });
  problems.push(...found.map((text) => `${place}: ${text}`));
}

/** Looks at the page in all windows and both themes. */
async function looks(browser, url) {
  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      const page = await visit(browser, url, { width, theme });
      const place = `report-${width}-${theme}`;
      await checkLayout(page, place);
      await checkPlots(page, place);
      await checkAccess(page, place);
      await page.screenshot({ path: `${process.env.UI_PICTURES}/${place}.png`, fullPage: true });
      await page.locator("details summary").first().click();
      await checkLayout(page, `${place}, changes`);
      await checkAccess(page, `${place}, changes`);
      await page.context().close();
    }
  }
}

/** Reads the reasons by keys, and by the pointer. */
async function reasons(browser, url) {
  const page = await visit(browser, url, { width: 1440 });
  const bubble = page.locator("#bubble");
  const group = page.locator(".dots").first();
  const dots = group.locator(".dot");
  expect((await dots.count()) > 1, `reasons: there are ${await dots.count()} dots`);
  expect((await group.locator("[tabindex='0']").count()) === 1, "reasons: the dots have not one tab stop");
  await dots.first().focus();
  expect(await bubble.isVisible(), "reasons: focus tells none");
  const first = await bubble.textContent();
  expect(first.includes("→") && first.includes("InFlightRequests"), `reasons: the first dot tells ${first}`);
  await page.keyboard.press("ArrowRight");
  expect((await bubble.textContent()) !== first, "reasons: the arrow does not lead to another dot");
  await page.keyboard.press("End");
  const last = dots.last();
  expect(await last.evaluate((node) => node === document.activeElement), "reasons: End does not lead to the last dot");
  const box = await bubble.boundingBox();
  expect(box.x >= 0 && box.x + box.width <= 1440, `reasons: the bubble reaches from ${box.x} to ${box.x + box.width}`);
  await picture(page, "report-reason");
  await page.keyboard.press("Escape");
  expect(!(await bubble.isVisible()), "reasons: Escape does not hide the bubble");
  await dots.first().hover();
  expect((await bubble.textContent()) === first, "reasons: hover tells another reason");
  await page.context().close();
}

/** Prints the page: each section is whole, and what only a screen can show is not there. */
async function print(browser, url) {
  const page = await visit(browser, url, { width: 800, theme: "dark" });
  await page.emulateMedia({ media: "print", colorScheme: "light" });
  const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  expect(paper === "rgb(255, 255, 255)", `print: the paper is ${paper}`);
  expect((await page.locator("details summary").first().isVisible()) === false, "print: closed lists are shown");
  await checkLayout(page, "print");
  await page.context().close();
}

/** Sees that the page's policy of content lets no other script run. */
async function isolated(browser, url) {
  const page = await visit(browser, url, { width: 768 });
  const before = problems.length;
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return window.ran === true;
  });
  expect(!ran, "isolated: another script runs");
  // The browser's complaint about that script is wanted.
  const wanted = problems.splice(before).filter((text) => !text.includes("Content Security Policy"));
  problems.push(...wanted);
  await page.context().close();
}

/** Makes the picture of docs/simulate.md. */
async function forDocs(browser, url) {
  const page = await visit(browser, url, { width: 1000 });
  const { y, height } = await page.locator(".one").first().boundingBox();
  await page.setViewportSize({ width: 1000, height: Math.ceil(y + height) + 24 });
  await picture(page, "simulate-report");
  await page.context().close();
}

const html = readFileSync(process.argv[2]);
const server = createServer((request, response) => {
  response.writeHead(request.url === "/" ? 200 : 404, { "content-type": "text/html" });
  response.end(request.url === "/" ? html : "");
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${server.address().port}/`;
const browser = await launch();
try {
  await looks(browser, url);
  await reasons(browser, url);
  await print(browser, url);
  await isolated(browser, url);
  await forDocs(browser, url);
} finally {
  await browser.close();
  server.close();
}
for (const problem of [...new Set(problems)]) console.log(problem);
console.log(`a page of ${Math.round(html.length / 1000)} kB is right in every window, in both themes, by the keys and on paper`);
process.exitCode = problems.length > 0 ? 1 : 0;
