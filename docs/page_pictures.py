"""The pictures of docs/page.md, taken from a running server: python docs/page_pictures.py http://127.0.0.1:8000/ docs/pictures"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


CHROMIUM = "/usr/bin/chromium"
DROPPED = Path(__file__).parent.parent / "examples" / "audio" / "folk_celtic_pride.ogg"


def shot(page, folder: Path, name: str) -> None:
    page.wait_for_timeout(900)  # until waveforms are drawn
    page.screenshot(path=folder / f"page_{name}.jpg", type="jpeg", quality=82)


def ask(page, words: str) -> None:
    page.fill("#query", words)
    page.wait_for_timeout(900)


def main(address: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready=whole]")
        ask(page, "heavy metal guitars")
        page.locator("#hits .play").first.click()
        page.wait_for_timeout(2500)
        shot(page, folder, "search")
        page.locator("#hits .title").first.click()
        page.wait_for_selector("#song .short")
        shot(page, folder, "song")
        page.keyboard.press("Escape")
        page.set_input_files("#file", DROPPED)
        page.wait_for_selector("#hits .match")
        shot(page, folder, "drop")
        for button in page.locator("#hits .add").all()[:4]:
            button.click()
        page.click("#open-playlist")
        shot(page, folder, "playlist")
        page.keyboard.press("Escape")
        page.focus("#front")
        for key in ("ArrowUp", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        page.click("#now-like")
        page.wait_for_timeout(2500)
        shot(page, folder, "more")
        page.route("**/*", lambda route: route.abort())  # as when the server has ended
        ask(page, "calm piano")
        shot(page, folder, "dead")

        dark = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark").new_page()
        dark.goto(address)
        dark.wait_for_selector("body[data-ready=whole]")
        ask(dark, "calm choir")
        dark.locator("#hits .play").first.click()
        dark.wait_for_timeout(1500)
        shot(dark, folder, "dark")

        phone = browser.new_context(viewport={"width": 390, "height": 780}, device_scale_factor=1.5).new_page()
        phone.goto(address)
        phone.wait_for_selector("body[data-ready=whole]")
        ask(phone, "happy fiddle")
        shot(phone, folder, "phone")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
