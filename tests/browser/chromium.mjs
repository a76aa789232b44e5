// A browser for one scenario: the system's Chromium, driven by Playwright.
//
// Whatever a page logs as an error, throws, or fails to load ends the scenario.

import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; the browser tests are run by cargo`);
  return value;
};

export const origin = required("SHOP_ORIGIN");
export const require = createRequire(join(required("NODE_MODULES"), "/"));

// Chromium looks for its maker's servers by itself, which tests have no use for.
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

/** Runs `scenario(context, watch)`; every wait in it has a deadline of 30 s. */
export async function browse(options, scenario) {
  const { chromium } = require("playwright-core");
  const profile = mkdtempSync(join(tmpdir(), "meridian-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: required("CHROMIUM"),
    headless: true,
    args: flags,
    viewport: { width: 1280, height: 900 },
    baseURL: origin,
    ...options,
  });
  context.setDefaultTimeout(30_000);
  const faults = [];
  const watch = (page) => {
    page.on("console", (message) => message.type() === "error" && faults.push(`${page.url()}: ${message.text()}`));
    page.on("pageerror", (error) => faults.push(`${page.url()}: ${error.stack}`));
    page.on("response", (answer) => answer.status() >= 400 && faults.push(`${answer.url()}: ${answer.status()}`));
    return page;
  };
  try {
    await scenario(context, watch);
  } catch (error) {
    throw new Error(`${error.message}\n${await seen(context)}\n${faults.join("\n")}`, { cause: error });
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
  if (faults.length > 0) throw new Error(`the pages complained:\n${faults.join("\n")}`);
}

/** What stands on the pages that are open, for whoever has to find out why a scenario failed. */
async function seen(context) {
  const text = async (page) => `${page.url()} shows:\n${await page.locator("main").innerText({ timeout: 2_000 })}`;
  const all = await Promise.all(context.pages().map((page) => text(page).catch((error) => error.message)));
  return all.join("\n");
}

export function expect(holds, what) {
  if (!holds) throw new Error(`expected: ${what}`);
}

/** Fills in where the order goes; the name says which buyer it was. */
export async function fillAddress(page, name) {
  await page.getByLabel("Full name").fill(name);
  await page.getByLabel("Street and number").fill("12 St James's Square");
  await page.getByLabel("Town or city").fill("London");
  await page.getByLabel("Postcode").fill("SW1Y 4JH");
}

/** Waits until the order's page says that it is paid, and gives its path. */
export async function confirmed(page) {
  await page.getByRole("heading", { level: 1, name: "Thank you, it is yours" }).waitFor();
  const path = new URL(page.url()).pathname;
  expect(/^\/orders\/[0-9a-f-]{36}$/.test(path), `an order's address, not ${path}`);
  return path;
}
