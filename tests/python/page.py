"""Clicks through the web page of a node with a real browser, and looks at it as people do.

    page.py WALK ADMIN PICTURES

Prints what it saw as one line of JSON, and fails with the reason where something is not as it should be.
"""

import contextlib
import json
import pathlib
import shutil
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

LATEST = 60

DESKTOP = (1280, 900, False)
PHONE = (390, 844, True)

# What people with weak eyes need, as WCAG 2 has it for text of this size.
CONTRAST = 4.5

LOOK = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => {
  const part = (value) => { const v = value / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  return 0.2126 * part(color[0]) + 0.7152 * part(color[1]) + 0.0722 * part(color[2]);
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = numbers(getComputedStyle(at).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
const faults = [];
const wide = document.documentElement.scrollWidth - innerWidth;
if (wide > 1) faults.push(`the page is ${wide} pixels wider than the window`);
let texts = 0;
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
  if (!own || !element.getClientRects().length || element.closest("title, script, style")) continue;
  texts += 1;
  const style = getComputedStyle(element);
  const front = light(numbers(element.closest("svg") ? style.fill : style.color));
  const back = light(behind(element));
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < CONTRAST) faults.push(`"${own.slice(0, 40)}" has a contrast of ${ratio.toFixed(1)}`);
  if (parseFloat(style.fontSize) < 11) faults.push(`"${own.slice(0, 40)}" is ${style.fontSize} high`);
  const box = element.getBoundingClientRect();
  const scrolls = element.closest("[tabindex], pre");
  if (!scrolls && box.right > innerWidth + 1) faults.push(`"${own.slice(0, 40)}" goes beyond the window`);
}
if (texts < 3) faults.push(`there are ${texts} texts`);
return faults;
""".replace("CONTRAST", str(CONTRAST))


class Browser:
    def __init__(self, admin, pictures, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in [
            "--headless=new",
            # Tests run as root in containers, where its own sandbox cannot be set up.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            # It is to ask nobody but the node.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
        ]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.admin, self.pictures = admin, pathlib.Path(pictures)
        self.seen = []

    def window(self, size):
        width, height, mobile = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, path):
        self.driver.get(self.admin + path)

    def wait(self, what, wanted):
        """Waits until it is as wanted. What is sent anew may take away what was just found; then it is looked for again."""

        def look(_):
            try:
                return wanted()
            except Exception as error:  # noqa: BLE001
                if "stale" in str(error) or "no such element" in str(error):
                    return False
                raise

        try:
            return WebDriverWait(self.driver, LATEST, poll_frequency=0.1).until(look)
        except Exception as error:
            raise AssertionError(f"{what}: not within {LATEST} s; the page is:\n{self.text()}") from error

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self):
        return self.find("body").text

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def click(self, what, css):
        def clicked():
            self.find(css).click()
            return True

        self.wait(what, clicked)

    def looks_right(self, name):
        """Keeps a picture, and says what is wrong with what is shown."""
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
        faults = self.script(LOOK)
        assert not faults, f"{name}: {faults}"
        self.seen.append(name)

    def said(self):
        """What the browser itself complains about: scripts that fail, and whatever the policy keeps it from."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def small(browser):
    """The lattice with load on it, in a large window and a small one, by day and by night, by mouse and by keyboard."""
    browser.window(DESKTOP)
    browser.scheme("light")
    browser.open("/")
    browser.wait("who calls whom", lambda: browser.find("#graph-storefront") and browser.find("#graph-pricing"))
    browser.wait("all nodes", lambda: "3 of 3" in browser.text())
    browser.looks_right("overview")

    # To an actor, by mouse, from the picture.
    browser.click("the storefront in the picture", "#graph-storefront rect")
    browser.wait("the storefront", lambda: browser.find("h1").text.startswith("storefront"))
    browser.wait("its charts", lambda: len(browser.all(".chart polyline")) >= 2)
    assert "pricing" in browser.find("main").text, browser.text()
    browser.looks_right("actor")

    # A call that failed, step by step, by keyboard.
    browser.click("traces", "nav a[href='/traces']")
    browser.wait("the list", lambda: browser.all("a[href^='/traces/']"))
    browser.looks_right("traces")
    browser.open("/actors/misfit")
    browser.wait("its failures", lambda: browser.all("a[href^='/traces/']"))
    browser.find("a[href^='/traces/']").send_keys(Keys.ENTER)
    browser.wait("its steps", lambda: len(browser.all(".waterfall li")) >= 4)
    turn = [row for row in browser.all(".waterfall summary") if row.text.startswith("turn")][0]
    turn.send_keys(Keys.ENTER)
    browser.wait("why it failed", lambda: "misfit.wasm!" in browser.text())
    browser.looks_right("trace")

    browser.click("events", "nav a[href='/events']")
    browser.wait("the trap", lambda: "actor-crashed" in browser.text())
    browser.looks_right("events")

    # By keyboard alone: from one thing to the next, and what has the focus is to be seen and stays what it is.
    browser.open("/")
    browser.wait("the picture", lambda: browser.find("#graph-storefront"))
    focused = lambda: browser.script("return document.activeElement.id || document.activeElement.getAttribute('href')")
    for _ in range(200):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        if focused() == "actor-storefront":
            break
    assert focused() == "actor-storefront", focused()
    outline = browser.script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", outline
    updates = "window.updates = 0; new MutationObserver(() => { window.updates += 1; })"
    browser.script(updates + ".observe(document.getElementById('live'), { childList: true });")
    browser.wait("the page goes on", lambda: browser.script("return window.updates") >= 3)
    assert focused() == "actor-storefront", focused()
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    browser.wait("the storefront", lambda: browser.driver.current_url.endswith("/actors/storefront"))

    # What is paused stands still.
    browser.open("/")
    browser.wait("the picture", lambda: browser.find("#graph-storefront"))
    browser.click("pause", "#pause")
    browser.script(updates + ".observe(document.getElementById('live'), { childList: true });")
    # The node goes on sending, and nothing of that is shown.
    browser.script("window.sent = 0; source.addEventListener('message', () => { window.sent += 1; });")
    browser.wait("it is sent more", lambda: browser.script("return window.sent") >= 3)
    assert browser.script("return window.updates") == 0
    browser.click("go on", "#pause")
    browser.wait("it goes on", lambda: browser.script("return window.updates") >= 1)

    pages = {"overview": "/", "actor": "/actors/storefront", "traces": "/traces", "events": "/events"}
    for size, where in [(PHONE, "phone"), (DESKTOP, "desktop")]:
        for scheme in ["light", "dark"]:
            browser.window(size)
            browser.scheme(scheme)
            for name, path in pages.items():
                browser.open(path)
                if name == "overview":
                    browser.wait("the picture", lambda: browser.find("#graph-storefront"))
                browser.looks_right(f"{name}-{where}-{scheme}")
            back = browser.script("return getComputedStyle(document.body).backgroundColor")
            dark = sum(int(part) for part in back[4:-1].split(",")) < 3 * 128
            assert dark == (scheme == "dark"), (scheme, back)
    return {}


def large(browser):
    """A lattice of 50 nodes and 500 actors: how long one update takes, and whether it can be read."""
    browser.window(DESKTOP)
    browser.scheme("light")
    browser.open("/")
    tiles = lambda: [tile.text for tile in browser.all(".tiles dd")]
    browser.wait("all nodes and actors", lambda: tiles()[:2] == ["50 of 50", "500"])
    browser.wait("calls are drawn", lambda: len(browser.all(".graph a")) >= 10)
    browser.looks_right("large")
    # What the page does with each update, and until it is laid out.
    update = """
      const took = [];
      for (let turn = 0; turn < 20; turn += 1) {
        const contents = live.innerHTML;
        const began = performance.now();
        take(contents);
        document.body.getBoundingClientRect();
        took.push(performance.now() - began);
      }
      return took.sort((a, b) => a - b);
    """
    took = browser.script(update)
    size = browser.script("return live.innerHTML.length")
    browser.window(PHONE)
    browser.open("/")
    browser.wait("all of it", lambda: tiles()[:2] == ["50 of 50", "500"])
    browser.looks_right("large-phone")
    return {"update_ms": took[len(took) // 2], "worst_ms": took[-1], "characters": size}


def main():
    walk, admin, pictures = sys.argv[1:]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(admin, pictures, profile)
        with contextlib.ExitStack() as stack:
            stack.callback(browser.driver.quit)
            saw = {"small": small, "large": large}[walk](browser)
            complaints = browser.said()
            assert not complaints, complaints
            print(json.dumps({"pictures": browser.seen, **saw}))


main()
