// Every page at a phone's width and a desktop's: no serious accessibility violation, nothing wider than the screen, and a
// picture for people to look at.

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { browse, confirmed, expect, fillAddress, require } from "./chromium.mjs";

const pictures = process.env.SCREENSHOTS;
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const widths = [390, 1280];

// A page that was made before the catalog was imported is served once more while it is made anew.
async function complete(page) {
  const deadline = performance.now() + 60_000;
  while ((await page.locator("nav.cats a").count()) === 0) {
    expect(performance.now() < deadline, `categories on ${page.url()} within 60 s`);
    await page.reload();
  }
}

// Pictures further down are fetched when somebody scrolls there.
async function arrived() {
  await document.fonts.ready;
  const pictures = [...document.images];
  for (const picture of pictures) picture.loading = "eager";
  await Promise.all(pictures.map((picture) => picture.decode()));
}

async function look(page, name) {
  const problems = [];
  for (const width of widths) {
    await page.setViewportSize({ width, height: width < 600 ? 844 : 900 });
    await page.evaluate(arrived);
    await page.screenshot({ path: join(pictures, `${name}-${width}.png`), fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) problems.push(`${name} at ${width} px is ${wide} px too wide`);
    // The page's own policy forbids scripts from elsewhere; the debugger's may run.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    for (const { id, impact, help, nodes } of violations) {
      if (impact !== "serious" && impact !== "critical") continue;
      problems.push(`${name} at ${width} px: ${id}: ${help}: ${nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
    }
  }
  return problems;
}

mkdirSync(pictures, { recursive: true });

await browse({}, async (context, watch) => {
  const page = watch(await context.newPage());
  const problems = [];
  const visit = async (name, path) => {
    await page.goto(path);
    await complete(page);
    problems.push(...(await look(page, name)));
  };
  await visit("home", "/");
  await visit("search", "/search?q=lantern");
  await visit("search-nothing", "/search?q=zzzzzz");
  await page.goto("/search?q=lantern");
  const product = await page.locator("a.card-link").first().getAttribute("href");
  await page.goto("/");
  await visit("category", await page.locator("nav.cats a").first().getAttribute("href"));
  await visit("product", product);
  await visit("about", "/about");
  await visit("cart-empty", "/cart");
  await visit("orders-empty", "/orders");
  await visit("sign-in", "/sign-in");
  await visit("sign-up", "/sign-up");

  await page.getByLabel("Your name").fill("Ada Lovelace");
  await page.getByLabel("E-mail").fill(`ada-${process.pid}-${Math.trunc(performance.timeOrigin)}@example.org`);
  await page.getByLabel("Password").fill("correct horse battery staple");
  await page.getByRole("button", { name: "Create an account" }).or(page.locator("main form button")).first().click();
  await page.waitForURL((url) => url.pathname !== "/sign-up");
  await visit("account", "/account");
  await page.goto(product);
  await page.getByRole("button", { name: "Add to basket" }).first().click();
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await visit("cart", "/cart");
  await visit("checkout", "/checkout");
  await fillAddress(page, "Ada Lovelace");
  await page.getByRole("button", { name: /^Place order/ }).click();
  await confirmed(page);
  problems.push(...(await look(page, "order-confirmed")));
  await visit("orders", "/orders");

  await page.goto(product);
  await page.getByRole("button", { name: "Add to basket" }).first().click();
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await page.goto("/checkout");
  await fillAddress(page, "Ada Lovelace");
  await page.locator("#tok_challenge").check();
  await page.getByRole("button", { name: /^Place order/ }).click();
  await page.getByRole("button", { name: /^Confirm payment/ }).waitFor();
  problems.push(...(await look(page, "order-challenge")));
  expect(problems.length === 0, `pages that everybody can use:\n${problems.join("\n")}`);
});

// Pages that answer with an error: the error itself is no complaint.
await browse({}, async (context) => {
  const page = await context.newPage();
  const problems = [];
  await page.goto("/nowhere");
  problems.push(...(await look(page, "not-found")));
  await page.goto("/search?q=mug");
  await page.locator("form[data-add] button").first().click();
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await page.goto("/checkout");
  await page.getByRole("button", { name: /^Place order/ }).click();
  await page.locator("#problem").waitFor();
  problems.push(...(await look(page, "checkout-errors")));
  expect(problems.length === 0, `pages that everybody can use:\n${problems.join("\n")}`);
});
