// Pictures of every page, light and dark, on desktop and phone, and what axe finds on each where axe-core is installed:
//   CONSOLE=https://127.0.0.1:8443 TOKEN_FILE=admin.token node screens.mjs DIRECTORY [page …]
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const at = process.env.CONSOLE ?? "https://127.0.0.1:8443";
const token = readFileSync(process.env.TOKEN_FILE, "utf8").trim();
const [dir, ...wanted] = process.argv.slice(2);
mkdirSync(dir, { recursive: true });

const ask = async (page, path) => page.evaluate(async ([p, t]) => (await fetch(`/api/v1${p}`, { headers: { Authorization: `Bearer ${t}` } })).json(), [path, token]);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", chromiumSandbox: false });
let bad = 0;
for (const [device, viewport] of [["desktop", { width: 1360, height: 860 }], ["phone", { width: 390, height: 844 }]]) {
  for (const scheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport, colorScheme: scheme, ignoreHTTPSErrors: true, deviceScaleFactor: 1, reducedMotion: "reduce" });
    const page = await context.newPage();
    page.on("console", (m) => {
      if (m.type() === "error" && !/401|favicon/.test(m.text())) {
        bad++;
        console.error(`${device} ${scheme} ${page.url()}: ${m.text()}`);
      }
    });
    page.on("pageerror", (err) => {
      bad++;
      console.error(`${device} ${scheme} ${page.url()}: ${err}`);
    });
    await page.goto(`${at}/console/`);
    const projects = await ask(page, "/projects");
    const backups = await ask(page, "/backups?limit=1");
    const restores = await ask(page, "/restores?limit=1");
    const pages = {
      signin: "", overview: "/", projects: "/projects", project: `/projects/${projects.items[0]?.slug}`, backup: `/backups/${backups.items[0]?.id}`,
      restores: "/restores", restore: `/restores/${restores.items[0]?.id}`, servers: "/servers", storages: "/storages", access: "/access", audit: "/audit", settings: "/settings",
    };
    for (const [name, path] of Object.entries(pages)) {
      if (wanted.length && !wanted.includes(name)) continue;
      if (name !== "signin") await page.evaluate((t) => sessionStorage.setItem("devflow-token", t), token);
      await page.goto(`${at}/console${path}`);
      await page.waitForFunction(() => !document.querySelector('[aria-busy="true"], [aria-label="Loading"], .mantine-Skeleton-root'), null, { timeout: 15_000 }).catch(() => console.error(`${name}: still loading`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) {
        bad++;
        console.error(`${device} ${scheme} ${name}: ${wide} px wider than the screen`);
      }
      await page.screenshot({ path: join(dir, `${name}-${device}-${scheme}.png`), fullPage: true });
    }
    await context.close();
  }
}
await browser.close();
process.exit(bad ? 1 : 0);
