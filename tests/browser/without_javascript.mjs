// The same purchase in a browser that runs no scripts.

import { browse, confirmed, expect, fillAddress } from "./chromium.mjs";

await browse({ javaScriptEnabled: false }, async (context, watch) => {
  const page = watch(await context.newPage());
  await page.goto("/");
  await page.getByLabel("Search the shop").fill("heart");
  await page.keyboard.press("Enter");
  await page.locator("a.card-link").first().click();
  await page.getByRole("button", { name: "Add to basket" }).first().click();
  await page.waitForURL(/\/cart/);
  await page.getByLabel(/^Quantity of/).fill("3");
  await page.getByRole("button", { name: /^Update/ }).click();
  expect((await page.locator("[data-units]").innerText()) === "3", "three in the basket");
  await page.getByRole("link", { name: "Go to checkout" }).click();
  await fillAddress(page, "Ada Plain");
  await page.getByRole("button", { name: /^Place order/ }).click();
  // The page asks for itself again while the payment runs.
  await confirmed(page);
});
