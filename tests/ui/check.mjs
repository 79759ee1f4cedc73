// node check.mjs seen URL NAME OTHER: looks at the page and the details of two autoscalers.
// node check.mjs thousand URL COUNT: measures the page with many autoscalers.
//
// UI_MODULES is the folder of install.sh, UI_PICTURES that of the pictures. The last line on standard
// output is the result; problems are printed before it and end the program with 1.

import { checkAccess, checkLayout, expect, launch, picture, problems, visit } from "./browser.mjs";

const WIDTHS = [360, 768, 1440];
const THEMES = ["light", "dark"];

/** Looks at the list and at details, in all windows and both themes. */
async function looks(browser, url, names) {
  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      const page = await visit(browser, url, { width, theme });
      const place = `${width}-${theme}`;
      await checkLayout(page, place);
      await checkAccess(page, place);
      await picture(page, `list-${place}`);
      for (const name of names) {
        await page.goto(`${url}#/${name}`);
        await page.waitForSelector(".answers");
        await page.locator("details summary").last().click();
        const detail = `detail-${name.split("/")[1]}-${place}`;
        await checkLayout(page, detail);
        await checkAccess(page, detail);
        await page.locator("details summary").last().click();
        await page.mouse.move(1, 1);
        await page.evaluate(() => document.querySelector("#detail").scrollTo(0, 0));
        await page.evaluate(() => scrollTo(0, 0));
        await picture(page, detail);
      }
      await page.context().close();
    }
  }
}

/** Makes the pictures of docs/ui.md. */
async function forDocs(browser, url, name) {
  const list = await visit(browser, url, { width: 1200, height: 650 });
  await picture(list, "ui-list");
  const detail = await visit(browser, `${url}#/${name}`, { width: 1200, height: 1130, theme: "dark" });
  await detail.waitForSelector(".dot");
  await picture(detail, "ui-detail");
  await Promise.all([list, detail].map((page) => page.context().close()));
}

const focused = (page) => page.evaluate(() => document.activeElement?.closest(".row")?.querySelector(".name")?.textContent ?? document.activeElement?.id ?? "");

/** Reaches everything by keys alone, and sees where the focus is. */
async function keys(browser, url) {
  const page = await visit(browser, url, { width: 1440 });
  const names = await page.locator(".row .name").allTextContents();
  await page.keyboard.press("/");
  expect((await focused(page)) === "filter", "keys: / does not lead to the filter");
  await page.keyboard.press("ArrowDown");
  expect((await focused(page)) === names[0], `keys: ArrowDown leads from the filter to ${await focused(page)}`);
  await page.keyboard.press("End");
  expect((await focused(page)) === names.at(-1), "keys: End does not lead to the last row");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  expect((await focused(page)) === names[1], "keys: ArrowDown does not lead to the next row");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  expect(outline !== "none", "keys: the focus cannot be seen");
  expect((await page.locator(".row[tabindex='0']").count()) === 1, "keys: the list has not one tab stop");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".answers");
  expect((await focused(page)) === "detail-name", "keys: Enter does not lead to the detail");
  await page.keyboard.press("Escape");
  expect((await focused(page)) === names[1], "keys: Escape does not lead back to the row");
  await page.keyboard.press("/");
  await page.keyboard.type("no such name");
  expect(await page.locator("#empty").isVisible(), "keys: an empty list says nothing");
  await page.keyboard.press("Escape");
  expect((await page.locator(".row").count()) === names.length, "keys: Escape does not clear the filter");
  await page.context().close();
}

/** Walks the timeline: each decision tells its reason, and Escape hides it before it closes. */
async function timeline(browser, url, name) {
  const page = await visit(browser, `${url}#/${name}`, { width: 1440, height: 1000 });
  await page.waitForSelector(".dot");
  const dots = page.locator(".dot");
  await dots.last().focus();
  expect(await page.locator(".bubble").isVisible(), "timeline: focus tells no reason");
  const last = await page.locator(".bubble").textContent();
  await page.keyboard.press("ArrowLeft");
  expect((await page.locator(".bubble").textContent()) !== last, "timeline: the arrow does not lead to another decision");
  await picture(page, "timeline");
  await page.keyboard.press("Escape");
  expect(!(await page.locator(".bubble").isVisible()), "timeline: Escape does not hide the reason");
  expect(await page.locator("#detail").isVisible(), "timeline: Escape closes too much");
  await dots.first().hover();
  expect(await page.locator(".bubble").isVisible(), "timeline: hover tells no reason");
  await page.context().close();
}

/** Returns a function that reads the milliseconds of CPU that the page's thread has taken. */
async function cpuOf(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const read = async (name) => {
    const { metrics } = await session.send("Performance.getMetrics");
    return metrics.find((it) => it.name === name).value;
  };
  return { session, read, taken: async () => 1000 * (await read("TaskDuration")) };
}

/** Sets the filter, and waits until the list is laid out. */
const filter = (page, text) => page.evaluate((text) => {
  const input = document.querySelector("#filter");
  input.value = text;
  input.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
}, text);

/** Shows the bill of a status that has one, with a reason of a later version. */
async function bill(browser, url, name) {
  const page = await visit(browser, url, { width: 768 });
  const reasons = [["Needed", 180000], ["HeldByWindow", 9000], ["OfALaterVersion", 400]].map(([reason, seconds]) => ({ reason, replicaSeconds: seconds, gpuSeconds: 4 * seconds }));
  await page.route("**/api/autoscalers/*/*", async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    json.targets[0].bill = { coveredSeconds: 86400, reasons };
    await route.fulfill({ response, json });
  });
  await page.goto(`${url}#/${name}`);
  await page.waitForSelector(".bill");
  const lines = await page.locator(".bill li").allTextContents();
  expect(lines[0].includes("needed") && lines[0].includes("200"), `bill: the first line is ${lines[0]}`);
  expect(lines.length === 3, `bill: it has ${lines.length} lines`);
  await page.locator(".bill").scrollIntoViewIfNeeded();
  await checkLayout(page, "bill");
  await checkAccess(page, "bill");
  await picture(page, "bill");
  await page.context().close();
}

/** Measures the page with many autoscalers: by the CPU, since the machine may do other things. */
async function thousand(browser, url, wanted) {
  const page = await visit(browser, "about:blank", { width: 1440 });
  const { session, read, taken } = await cpuOf(page);
  const idle = await taken();
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset.ready);
  const opened = (await taken()) - idle;
  const ready = await page.evaluate(() => Number(document.documentElement.dataset.ready));
  const lines = await page.locator(".row").count();
  expect(lines === wanted, `${lines} lines are shown, not ${wanted}`);
  const first = await page.locator(".row").first().getAttribute("class");
  expect(first === "row trouble", `the first line is ${first}`);
  await checkLayout(page, "thousand");
  await picture(page, "thousand");
  const before = await taken();
  await filter(page, "model-77");
  const filtered = (await taken()) - before;
  expect((await page.locator(".row").count()) === 11, "the filter leaves other lines");
  await filter(page, "");
  const still = await taken();
  const frames = 60;
  await page.evaluate(async (frames) => {
    for (let step = 0; step < frames; step += 1) {
      scrollBy(0, 800);
      await new Promise(requestAnimationFrame);
    }
  }, frames);
  const frame = ((await taken()) - still) / frames;
  await session.send("HeapProfiler.collectGarbage");
  const heap = Math.round((await read("JSHeapUsedSize")) / 2 ** 20);
  return `${wanted} autoscalers: ready for keys after ${ready} ms (${Math.round(opened)} ms of CPU), filtered in ${Math.round(filtered)} ms of CPU, ${frame.toFixed(1)} ms for each frame of scrolling, heap ${heap} MiB, ${await read("Nodes")} nodes`;
}

const [part, url, ...names] = process.argv.slice(2);
const browser = await launch();
let result = "every window, both themes, the keys and the timeline are right";
try {
  if (part === "thousand") {
    result = await thousand(browser, url, Number(names[0]));
  } else {
    await forDocs(browser, url, names[0]);
    await looks(browser, url, names);
    await keys(browser, url);
    await timeline(browser, url, names[0]);
    await bill(browser, url, names[0]);
  }
} finally {
  await browser.close();
}
for (const problem of [...new Set(problems)]) console.log(problem);
console.log(result);
process.exitCode = problems.length > 0 ? 1 : 0;
