// Real Chromium on the review page: decides by keyboard, looks for barriers with axe-core, scans as mail security does.
//
// Reads ACT (decide, barriers, scan, frame), BASE, LINK, MAILS_URL (where codes arrive), ADDRESS (whose link it is), ACCOUNT
// (at the issuer; empty where codes are mailed), SIZE, PAGES, VISITS, CHROMIUM, SCREENSHOTS (a folder). Writes what was seen as
// one JSON document to standard output; a failure goes to standard error with exit code 1.

import { createServer } from "node:http";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { ACT, BASE, LINK, MAILS_URL, ADDRESS, ACCOUNT, SIZE, PAGES, VISITS, CHROMIUM, SCREENSHOTS } = process.env;
const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 900 } };
const PATIENCE_MS = 20_000;
const MODE = ACCOUNT ? "oidc" : "mailbox";

function expect(holds, otherwise) {
  if (!holds) throw new Error(otherwise);
}

async function codes() {
  const { messages } = await (await fetch(MAILS_URL)).json();
  const mine = Object.values(messages).flat().filter((mail) => mail.To.includes(ADDRESS));
  return mine.map((mail) => /^Your one-time code: (\d{6})$/m.exec(mail.BodyText)?.[1]).filter(Boolean);
}

/** Presses Tab until the element that has the focus fits; a person without a mouse has no other way. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 150; presses += 1) {
    const focused = page.locator(`${selector}:focus`);
    if ((await focused.count()) > 0) {
      const box = await focused.evaluate((element) => {
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return outlineStyle !== "none" && outlineWidth !== "0px";
      });
      expect(box, `${selector} has the focus, and nobody can see it`);
      return;
    }
    await page.keyboard.press("Tab");
  }
  throw new Error(`${selector} cannot be reached by Tab`);
}

/** Presses Enter on what has the focus, and waits for the page behind it. */
async function enter(page) {
  const arrives = page.waitForNavigation({ waitUntil: "load" });
  await page.keyboard.press("Enter");
  await arrives;
}

async function picture(page, what) {
  const devtools = await page.context().newCDPSession(page);
  const { cssContentSize, cssLayoutViewport } = await devtools.send("Page.getLayoutMetrics");
  expect(
    cssContentSize.width <= cssLayoutViewport.clientWidth,
    `${what} scrolls sideways: it is ${cssContentSize.width} px wide, not ${cssLayoutViewport.clientWidth}`,
  );
  await page.screenshot({ path: join(SCREENSHOTS, `${what}-${MODE}-${SIZE || "desk"}.png`), fullPage: true });
}

async function signIn(page, account) {
  await tabTo(page, "input[name=account]");
  await page.keyboard.type(account);
  await tabTo(page, "button:not([name])");
  await enter(page);
}

async function decide(browser) {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: SIZES[SIZE] });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(LINK);
  await picture(page, "question");
  const scripts = await page.locator("script").count();
  if (ACCOUNT) {
    await tabTo(page, "a[href$='/sign-in']");
    await enter(page);
    expect(new URL(page.url()).hostname === "localhost", `the issuer is another site, not ${page.url()}`);
    await signIn(page, ACCOUNT);
    expect(page.url() === LINK, `signing in leads back to the page, not to ${page.url()}`);
    await picture(page, "signed-in");
  } else {
    await tabTo(page, "#address");
    await page.keyboard.type(ADDRESS);
    await tabTo(page, "form[action$='/code'] button");
    await enter(page);
    await picture(page, "asked");
  }
  await tabTo(page, "input[name=choice]");
  // The first of a group that nobody has chosen from has the focus; Space chooses it.
  await page.keyboard.press("Space");
  expect(await page.locator("input[name=choice][value=approved]").isChecked(), "the first answer is approval");
  await tabTo(page, "#reason");
  await page.keyboard.type("typed without a mouse");
  if (!ACCOUNT) {
    await tabTo(page, "#code");
    await page.keyboard.type((await codes()).at(-1));
  }
  await tabTo(page, "form[action$='/decide'] button");
  await enter(page);
  await picture(page, "receipt");
  const receipt = await page.locator("body").innerText();
  await page.goto(LINK);
  const again = await page.locator("body").innerText();
  return { scripts, receipt, again };
}

async function barriers(browser) {
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  // axe-core is a script, so here they are on; the pages have none of their own.
  const context = await browser.newContext({ viewport: SIZES.phone, bypassCSP: true });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const seen = { looked_at: [], violations: [] };
  const look = async (name) => {
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      for (const { id, help, nodes } of violations) {
        seen.violations.push({ page: name, scheme, id, help, nodes: nodes.map((node) => node.html.slice(0, 200)) });
      }
    }
    seen.looked_at.push(name);
  };
  for (const { name, link } of JSON.parse(PAGES)) {
    await page.goto(link);
    await look(name);
  }
  const [{ link }] = JSON.parse(PAGES);
  await page.goto(link);
  if (ACCOUNT) {
    await page.locator("a[href$='/sign-in']").click();
    await signIn(page, ACCOUNT);
    await look("somebody else");
    await context.clearCookies();
    await page.goto(link);
    await page.locator("a[href$='/sign-in']").click();
    await signIn(page, "analyst");
    await look("signed in");
  } else {
    await page.locator("#address").fill(ADDRESS);
    await page.locator("form[action$='/code'] button").click();
    await look("asked for a code");
    await page.locator("input[name=choice]").first().check();
    await page.locator("#reason").fill("because");
    await page.locator("#code").fill("000000");
    await page.locator("form[action$='/decide'] button").click();
    await look("a wrong code");
    await page.goto(`${link}x`);
    await look("no such link");
    await page.setContent(await (await context.request.post(`${link}/decide`, { form: { csrf: "x" } })).text());
    await look("refused");
  }
  return seen;
}

/** Opens the link in fresh sessions, presses every button with everything typed that one would guess. */
async function scan(browser) {
  const person = await browser.newContext({ javaScriptEnabled: false, viewport: SIZES.phone });
  const own = await person.newPage();
  own.setDefaultTimeout(PATIENCE_MS);
  await own.goto(LINK);
  await own.locator("#address").fill(ADDRESS);
  await own.locator("form[action$='/code'] button").click();
  const code = (await codes()).at(-1);
  let [visits, pressed, decidedByScanner] = [0, 0, 0];
  for (; visits < Number(VISITS); visits += 1) {
    const context = await browser.newContext({ javaScriptEnabled: visits % 2 === 0 });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(LINK);
    const buttons = await page.locator("form button").count();
    const choices = await page.locator("input[name=choice]").count();
    for (let button = 0; button < buttons; button += 1) {
      for (let choice = 0; choice < (button === 0 ? 1 : choices); choice += 1) {
        await page.goto(LINK);
        for (const field of await page.locator("input[type=email], input[name=code], textarea").all()) {
          const name = await field.getAttribute("name");
          await field.fill({ address: ADDRESS, code: String(100_000 + visits), reason: "looks fine" }[name]);
        }
        for (const box of await page.locator("input[type=checkbox]").all()) await box.check();
        await page.locator("input[name=choice]").nth(choice).check();
        const arrives = page.waitForNavigation({ waitUntil: "load" });
        await page.locator("form button").nth(button).click();
        await arrives;
        pressed += 1;
        if ((await page.locator("body").innerText()).includes("Already decided")) decidedByScanner += 1;
      }
    }
    await context.close();
    // The person reads on meanwhile, and ten seconds pass.
    await own.goto(LINK);
    await fetch(`${BASE}/_ten_seconds`);
  }
  await own.locator("input[name=choice][value=approved]").check();
  await own.locator("#reason").fill("typed without a mouse");
  await own.locator("#code").fill(code);
  const arrives = own.waitForNavigation({ waitUntil: "load" });
  await own.locator("form[action$='/decide'] button").click();
  await arrives;
  const receipt = await own.locator("body").innerText();
  await own.goto(LINK);
  const again = await own.locator("body").innerText();
  return { visits, pressed, decided_by_scanner: decidedByScanner, receipt, again, scripts: await own.locator("script").count() };
}

/** A page of another site that shows ours in a frame, and one that posts to it. */
async function frame(browser) {
  const evil = createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end(
      request.url === "/frame"
        ? `<iframe src="${LINK}" width="600" height="600"></iframe>`
        : `<form method="post" action="${LINK}/decide"><input name="choice" value="approved"><button>win</button></form>`,
    );
  });
  await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
  const site = `http://localhost:${evil.address().port}`;
  try {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(`${site}/frame`, { waitUntil: "load" });
    const inner = page.frames().find((known) => known !== page.mainFrame());
    const framed = await inner.locator("body").innerText().catch(() => "");
    await page.goto(`${site}/post`);
    const arrives = page.waitForNavigation({ waitUntil: "load" });
    await page.locator("button").click();
    const answer = await arrives;
    return { framed, refused: answer.status() === 403 };
  } finally {
    evil.close();
  }
}

mkdirSync(SCREENSHOTS, { recursive: true });
let browser;
try {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    timeout: 60_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  console.log(JSON.stringify(await { decide, barriers, scan, frame }[ACT](browser)));
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
} finally {
  await browser?.close();
}
