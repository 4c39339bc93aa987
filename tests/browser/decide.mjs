// Decides on the review page as a person does: real Chromium, JavaScript off, at the width of a phone and of a desk.
//
// Reads LINK (from the mail), ADDRESS (whose link it is), MAILS_URL (where the code arrives), INCIDENT, CHOICE, REASON,
// CHROMIUM, SCREENSHOTS (a folder). Writes what was seen as one JSON document to standard output; a failure goes to
// standard error with exit code 1.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { LINK, ADDRESS, MAILS_URL, INCIDENT, CHOICE, REASON, CHROMIUM, SCREENSHOTS } = process.env;
const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 900 } };
const PATIENCE_MS = 20_000;

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

/** A press that leads to another page. */
async function press(page, name, saw) {
  const button = page.getByRole("button", { name, exact: true });
  const [arrived] = await Promise.all([page.waitForNavigation({ waitUntil: "load" }), button.click()]);
  saw.status = arrived.status();
}

async function show(page, devtools, what, saw) {
  for (const [name, size] of Object.entries(SIZES)) {
    await page.setViewportSize(size);
    // Measured by the browser itself: scripts of the page are off.
    const { cssContentSize, cssLayoutViewport } = await devtools.send("Page.getLayoutMetrics");
    await page.screenshot({ path: join(SCREENSHOTS, `${what}-${name}.png`), fullPage: true });
    const [content, viewport] = [cssContentSize.width, cssLayoutViewport.clientWidth];
    expect(viewport > 0 && viewport <= size.width, `${what}: the viewport is ${viewport} px, not ${size.width}`);
    expect(content <= viewport, `${what} scrolls sideways at ${size.width}: it is ${content} px wide`);
  }
  const scripts = await page.locator("script").count();
  expect(scripts === 0, `${what} has ${scripts} scripts`);
  const links = await page.locator("a[href], area[href], img[src], link[href], form[action]").evaluateAll((elements) =>
    elements.map((element) => element.href || element.src || element.action),
  );
  saw[what] = { status: saw.status, title: await page.title(), text: await page.locator("body").innerText(), links };
}

async function code() {
  const until = Date.now() + PATIENCE_MS;
  while (Date.now() < until) {
    const { messages } = await (await fetch(MAILS_URL)).json();
    const mails = Object.values(messages).flat();
    const mine = mails.filter((mail) => mail.To.includes(ADDRESS) && mail.Subject.includes(INCIDENT));
    const found = mine.map((mail) => /^Your one-time code: (\d{6})$/m.exec(mail.BodyText)?.[1]).filter(Boolean);
    if (found.length > 0) return found.at(-1);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`no code came by mail to ${ADDRESS} within ${PATIENCE_MS / 1000} s`);
}

async function decide(page, devtools) {
  const saw = {};
  const open = async () => {
    saw.status = (await page.goto(LINK)).status();
  };

  await open();
  await show(page, devtools, "question", saw);
  saw.question.chosen = await page.locator("input[type=radio]:checked").count();
  saw.question.ticked = await page.locator("input[type=checkbox]:checked").count();

  await page.setViewportSize(SIZES.phone);
  await page.getByLabel("The address that the link was sent to").fill(ADDRESS);
  await press(page, "Mail me a code", saw);
  await show(page, devtools, "asked", saw);

  await page.locator(`input[name=choice][value=${CHOICE}]`).check();
  await page.getByLabel("Reason, for your colleagues").fill(REASON);
  await page.getByLabel(/^One-time code/).fill(await code());
  await press(page, "Decide", saw);
  await show(page, devtools, "receipt", saw);

  await open();
  await show(page, devtools, "again", saw);
  saw.again.forms = await page.locator("form").count();
  return saw;
}

const folder = mkdtempSync(join(tmpdir(), "playbook-browser-"));
mkdirSync(SCREENSHOTS, { recursive: true });
let browser;
try {
  browser = await chromium.launchPersistentContext(folder, {
    executablePath: CHROMIUM,
    headless: true,
    javaScriptEnabled: false,
    viewport: SIZES.phone,
    timeout: 60_000,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  browser.setDefaultTimeout(PATIENCE_MS);
  const page = browser.pages()[0] ?? (await browser.newPage());
  const devtools = await browser.newCDPSession(page);
  console.log(JSON.stringify(await decide(page, devtools)));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
}
