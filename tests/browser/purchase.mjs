// Searches, opens a product, puts it into the basket, checks out and sees the order become CONFIRMED.

import { browse, confirmed, expect, fillAddress } from "./chromium.mjs";

await browse({}, async (context, watch) => {
  const page = watch(await context.newPage());
  await page.goto("/");
  await page.getByLabel("Search the shop").fill("lantern");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/search\?q=lantern/);
  const first = page.locator("a.card-link").first();
  expect(/lantern/i.test(await first.innerText()), "a lantern first when lanterns are searched for");
  await first.click();
  await page.waitForURL(/\/p\//);
  const title = await page.getByRole("heading", { level: 1 }).innerText();

  await page.locator("#quantity").fill("2");
  const stays = page.url();
  await page.getByRole("button", { name: "Add to basket" }).first().click();
  await page.locator("[data-count]", { hasText: "2" }).waitFor();
  await page.locator("[data-toast]").waitFor({ state: "visible" });
  expect(page.url() === stays, "adding with JavaScript does not leave the product");

  await page.getByRole("link", { name: /^Basket/ }).click();
  await page.waitForURL(/\/cart/);
  await page.getByRole("link", { name: title, exact: true }).waitFor();
  await page.getByRole("link", { name: "Go to checkout" }).click();
  await fillAddress(page, "Ada Browser");
  await page.getByRole("button", { name: /^Place order/ }).click();
  const order = await confirmed(page);
  await page.getByText("Ada Browser").waitFor();

  await page.goto("/orders");
  await page.locator(`a[href="${order}"]`).waitFor();
  const stranger = await context.browser()?.newContext();
  expect(!stranger || (await (await stranger.newPage()).goto(new URL(order, page.url()).href)).status() !== 200,
    "another browser does not see the order");

  // A payment that the bank asks about, followed without reloading.
  await page.goto("/search?q=mug");
  await page.locator("form[data-add] button").first().click();
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await page.goto("/checkout");
  await fillAddress(page, "Ada Challenged");
  await page.locator("#tok_challenge").check();
  await page.getByRole("button", { name: /^Place order/ }).click();
  await page.getByRole("button", { name: /^Confirm payment/ }).click();
  await confirmed(page);

  // Another browser window that shows the order is told what becomes of it, and is not loaded anew for that.
  const watching = watch(await context.newPage());
  await watching.goto(new URL(page.url()).pathname);
  await watching.evaluate(() => (document.body.dataset.first = "yes"));
  await page.bringToFront();
  await page.getByText("Cancel this order").click();
  await page.getByRole("button", { name: "Yes, cancel it" }).click();
  await page.getByRole("heading", { level: 1, name: "This order was cancelled" }).waitFor();
  await watching.bringToFront();
  await watching.getByRole("heading", { level: 1, name: "This order was cancelled" }).waitFor();
  await watching.getByText("The money is on its way back to you.").waitFor();
  await watching.getByRole("button", { name: "Put these items back in the basket" }).waitFor();
  expect((await watching.locator("[data-first]").count()) === 1, "a page that follows its order without being loaded anew");

  await page.bringToFront();
  // A payment on the provider's own page, to which the order's page leads by itself and which leads back.
  await page.goto("/search?q=mug");
  await page.locator("form[data-add] button").first().click();
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await page.goto("/checkout");
  await fillAddress(page, "Ada Elsewhere");
  await page.locator("#tok_hosted").check();
  await page.getByRole("button", { name: /^Place order/ }).click();
  await page.waitForURL(/\/hosted\/|\/orders\//);
  const pay = page.getByRole("button", { name: /^Pay £/ });
  const link = page.getByRole("link", { name: "Continue to payment" });
  await pay.or(link).first().waitFor();
  // The order may have been shown before the provider was asked.
  if (await link.isVisible().catch(() => false)) await link.click().catch(() => {});
  await pay.click();
  await confirmed(page);
});
