"""How fast the page and its searches are on a running server, in a real browser: python benchmarks/page.py http://127.0.0.1:8000/"""

import statistics
import sys
import time

from playwright.sync_api import sync_playwright


CHROMIUM = "/usr/bin/chromium"
QUERIES = (
    "calm piano",
    "heavy metal guitars",
    "medieval dance",
    "dark ambient drone",
    "happy chiptune",
    "epic choir",
    "jazz drums",
)
DRAGS = 40


def main(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
        started = time.monotonic()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        print(f"first songs {1000 * (time.monotonic() - started):.0f} ms", end="")
        page.wait_for_selector("body[data-ready=whole]", timeout=60_000)
        print(f", with map and filters {1000 * (time.monotonic() - started):.0f} ms")
        for per in ("song", "part"):
            page.select_option("#per", per, force=True) if page.locator("#per").is_visible() else None
            answers = []
            for query in QUERIES:
                page.evaluate("delete document.body.dataset.answeredMs")
                page.fill("#query", query)
                while not (answered := page.evaluate("document.body.dataset.answeredMs")):
                    time.sleep(0.01)
                answers.append(120 + int(answered))  # the page waits 120 ms for another key
            print(f"per {per}: last key to results, ms: median {statistics.median(answers):.0f}, worst {max(answers)}")
            page.fill("#query", "calm piano and strings")
            page.wait_for_timeout(1000)
        page.fill("#query", "")
        page.wait_for_timeout(1000)
        box = page.locator("#front").bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.wheel(0, -300)
        paints = []
        page.mouse.down()
        for step in range(DRAGS):
            page.mouse.move(box["x"] + 200 + 3 * step, box["y"] + 200 + 2 * step)
            page.wait_for_timeout(30)
            paints.append(float(page.evaluate("document.getElementById('front').dataset.paintMs")))
        page.mouse.up()
        print(f"map while dragged, ms a picture: median {statistics.median(paints):.1f}, worst {max(paints):.1f}")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
