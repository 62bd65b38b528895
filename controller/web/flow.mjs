// Drives the console of a running installation as a person would: sign in, back up now, verify, look at the plan of a restore.
//   CONSOLE=https://127.0.0.1:8443 NAME=anna PASSWORD_FILE=password PROJECT=shop node flow.mjs DIRECTORY
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const at = process.env.CONSOLE ?? "https://127.0.0.1:8443";
const project = process.env.PROJECT ?? "shop";
const dir = process.argv[2] ?? "screenshots";
mkdirSync(dir, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", chromiumSandbox: false });
const page = await (await browser.newContext({ viewport: { width: 1360, height: 900 }, ignoreHTTPSErrors: true, reducedMotion: "reduce" })).newPage();
page.setDefaultTimeout(20_000);
const errors = [];
page.on("pageerror", (err) => errors.push(String(err)));
const shot = (name) => page.screenshot({ path: join(dir, `flow-${name}.png`) });
const step = async (name, run) => {
  try {
    await run();
    console.log(`ok    ${name}`);
  } catch (err) {
    await shot("failed");
    console.error(`FAIL  ${name}: ${err}`);
    await browser.close();
    process.exit(1);
  }
};

await step("a wrong password is refused in words", async () => {
  await page.goto(`${at}/console/projects/${project}`);
  await page.getByLabel("User name").fill(process.env.NAME);
  await page.getByLabel("Password", { exact: false }).first().fill("not the password");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("alert").waitFor();
});
await step("sign in", async () => {
  await page.getByLabel("Password", { exact: false }).first().fill(readFileSync(process.env.PASSWORD_FILE, "utf8").trim());
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("heading", { name: "Backup History" }).waitFor();
});
await step("the session lasts over a reload", async () => {
  await page.reload();
  await page.getByRole("heading", { name: "Backup History" }).waitFor();
});
let row;
await step("back up now", async () => {
  await page.getByRole("button", { name: "Create Backup Now" }).first().click();
  await page.getByRole("dialog").getByRole("textbox", { name: "Database" }).click();
  await page.getByRole("option", { name: new RegExp(`^${process.env.DATABASE ?? "shop"} ·`) }).click();
  const answered = page.waitForResponse((r) => r.url().endsWith("/api/v1/backups") && r.request().method() === "POST");
  await page.getByRole("button", { name: "Create Backup", exact: true }).click();
  const id = (await (await answered).json()).items[0].backup.id;
  row = page.locator("tr", { has: page.locator(`a[href$="/backups/${id}"]`) });
  await row.waitFor();
  await shot("running");
  await row.getByText("Completed").waitFor({ timeout: 60_000 });
});
await step("verify: from purple to green", async () => {
  await row.getByLabel("Not verified").waitFor();
  await row.getByRole("button", { name: "Verify Integrity" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Verify", exact: true }).click();
  await row.getByLabel(/^Verified at/).first().waitFor({ timeout: 60_000 });
  await shot("verified");
});
await step("the plan of a restore in place, which asks for the name", async () => {
  await row.getByRole("button", { name: "Restore", exact: true }).click();
  await page.getByRole("dialog").getByLabel("In place", { exact: true }).check();
  await page.getByRole("button", { name: "Show what would happen" }).click();
  await page.getByText(/It can start|It cannot start like this/).waitFor({ timeout: 60_000 });
  await shot("plan");
  const replace = page.getByRole("button", { name: "Replace it" });
  if (await replace.count() && await replace.isEnabled()) throw new Error("it can be replaced without a name");
  await page.keyboard.press("Escape");
});
await step("a schedule shows its next five times", async () => {
  await page.getByRole("button", { name: "Create Schedule" }).first().click();
  await page.getByText("Next five times").waitFor();
  if ((await page.locator(".preview li").count()) !== 5) throw new Error("not five times");
  await shot("schedule");
  await page.keyboard.press("Escape");
});
await step("add a server shows its command", async () => {
  await page.goto(`${at}/console/servers`);
  await page.getByRole("button", { name: "Add server" }).click();
  await page.getByLabel("Name").fill(`db-${Date.now() % 100000}`);
  await page.getByRole("button", { name: "Make the command" }).click();
  await page.getByText("Waiting for the host").waitFor();
  await shot("add-server");
});
await step("sign out", async () => {
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /^Signed in as/ }).click();
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  if (errors.length) throw new Error(errors.join("; "));
});
await browser.close();
