// Opens HTML files from disk in headless Chromium and checks them:
//   node check.mjs REPORT.html ...                 on a phone and a desktop, light and dark
//   SHOTS=FOLDER node check.mjs REPORT.html ...    with a picture of each
// No console errors, no requests, no violations of axe-core, no horizontal scrolling;
// and charts say their values to pointer and keyboard.
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const browser = await puppeteer.launch({
  args: [...chromium.args, "--no-sandbox", "--allow-file-access-from-files"],
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
let wrong = 0;
const complain = (where, what) => { wrong += 1; console.error(`${where}: ${what}`); };

for (const path of process.argv.slice(2)) {
  for (const width of [360, 1200]) {
    for (const scheme of ["light", "dark"]) {
      const where = `${basename(dirname(path))}/${basename(path)}, ${width} px, ${scheme}`;
      const page = await browser.newPage();
      const url = pathToFileURL(resolve(path)).href;
      page.on("console", (m) => { if (["error", "warn"].includes(m.type())) complain(where, m.text()); });
      page.on("pageerror", (error) => complain(where, error.message));
      page.on("request", (request) => {
        const to = request.url();
        if (to !== url && !to.startsWith("data:")) complain(where, `requests ${to}`);
      });
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.goto(url, { waitUntil: "load" });
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (overflow > 0) complain(where, `scrolls ${overflow} px to the side`);
      for (const chart of (await page.$$("figure.chart .picture svg")).slice(0, 3)) {
        const said = () => chart.evaluate((svg) => {
          const tip = svg.parentElement.querySelector(".tip");
          return tip.style.visibility === "visible" ? tip.textContent : "";
        });
        await chart.scrollIntoView();
        await chart.hover();
        if (!(await said())) complain(where, "a pointer on a chart shows nothing");
        await page.mouse.move(0, 0);
        await chart.evaluate((svg) => svg.focus());
        await page.keyboard.press("ArrowRight");
        const first = await said();
        await page.keyboard.press("End");
        if (!first || first === (await said())) complain(where, "arrow keys show nothing");
      }
      const colors = await page.$(".colored");
      if (colors && (await colors.$$("option")).length > 1) {
        const classes = () => colors.$$eval("pre span", (all) => all.map((s) => s.className).join(""));
        const before = await classes();
        await colors.$eval("select", (s) => {
          s.selectedIndex = 1;
          s.dispatchEvent(new Event("change"));
        });
        if (before === (await classes())) complain(where, "another unit shows the same colors");
      }
      await page.addScriptTag({ path: axe });
      const { violations } = await page.evaluate(async () => await window.axe.run());
      for (const { id, nodes } of violations) {
        complain(where, `axe: ${id}, ${nodes.length} times, first ${nodes[0].html.slice(0, 120)}`);
      }
      if (process.env.SHOTS) {
        const name = `${basename(dirname(dirname(path)))}-${width}-${scheme}.png`;
        await page.screenshot({ path: join(process.env.SHOTS, name), fullPage: true });
      }
      await page.close();
    }
  }
}
await browser.close();
console.log(`${process.argv.length - 2} reports, ${wrong} faults`);
process.exit(wrong ? 1 : 0);
