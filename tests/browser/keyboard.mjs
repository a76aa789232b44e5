// A purchase with the keyboard alone; whatever has the focus shows it.

import { browse, confirmed, expect } from "./chromium.mjs";

const MOST_TABS = 250;

/** Presses Tab until the focus is on what matches; each stop on the way must be visible as the focus. */
async function tabTo(page, selector) {
  for (let pressed = 0; pressed < MOST_TABS; pressed += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate((wanted) => {
      const element = document.activeElement;
      if (!element || element === document.body) return { found: false, shown: true, what: "the page" };
      const style = getComputedStyle(element);
      const outlined = (style.outlineStyle !== "none" && style.outlineWidth !== "0px") || style.boxShadow !== "none";
      // A radio button may show its focus on the label that stands for it.
      const label = element.labels?.[0] && getComputedStyle(element.labels[0]);
      const shown = outlined || (label && (label.outlineStyle !== "none" || label.boxShadow !== "none"));
      return { found: element.matches(wanted), shown, what: element.outerHTML.slice(0, 120) };
    }, selector);
    expect(stop.shown, `a visible focus on ${stop.what}`);
    if (stop.found) return;
  }
  throw new Error(`${selector} is not reached by ${MOST_TABS} tabs on ${page.url()}`);
}

const type = async (page, selector, text) => {
  await tabTo(page, selector);
  await page.keyboard.type(text);
};

const press = async (page, selector, key = "Enter") => {
  await tabTo(page, selector);
  await page.keyboard.press(key);
};

await browse({}, async (context, watch) => {
  const page = watch(await context.newPage());
  await page.goto("/");
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.matches("a.skip")), "the way past the menu comes first");
  await type(page, "#q", "bunting");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/search/);
  await press(page, "a.card-link");
  await page.waitForURL(/\/p\//);
  await press(page, '.buy-form button[type="submit"]');
  await page.locator("[data-count]", { hasText: "1" }).waitFor();
  await page.goto("/cart");
  await press(page, 'a[href="/checkout"]');
  await page.waitForURL(/\/checkout/);
  await type(page, "#name", "Ada Keys");
  await type(page, "#line1", "12 St James's Square");
  await type(page, "#city", "London");
  await type(page, "#postal_code", "SW1Y 4JH");
  await press(page, 'form[action="/checkout"] button[type="submit"]');
  await confirmed(page);
});
