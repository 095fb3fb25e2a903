"""The page in a real browser, step by step as somebody would use it. Needs Chromium; axe-core comes from npm."""

import json
import shutil
import signal

import pytest
from checks import EXAMPLE_AUDIO
from served_page import Server, open_browser, serious_findings, served_in_a_thread, wait_until, watched_page

from muq_hf.serving.application import build_application
from muq_hf.serving.library import Library
from muq_hf.serving.query_encoder import QueryEncoder
from muq_hf.serving.song_table import read_settings_of


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(table):
    server = Server(table, "--port", "0")
    yield server
    if server.process.poll() is None:
        server.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def browser():
    with open_browser(viewport={"width": 1360, "height": 900}) as context:
        yield context


@pytest.fixture
def page(server, browser):
    """A fresh page, ready; afterwards it must have written no error to its console."""
    page, errors = watched_page(browser)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready=whole]")
    yield page
    page.close()
    assert errors == []


def first_title(page) -> str:
    return page.locator("#hits .title").first.text_content()


def search(page, words: str) -> None:
    page.fill("#query", "")
    page.locator("#query").press_sequentially(words, delay=10)
    wait_until(page, f"document.getElementById('what').textContent === '“{words}”'")
    wait_until(page, "document.getElementById('hits').getAttribute('aria-busy') === 'false'")


def wait_for_sound(page) -> None:
    wait_until(page, "document.getElementById('audio').currentTime > 0.3 && !document.getElementById('audio').paused")


def test_words_then_the_first_hit_plays(page):
    search(page, "heavy metal guitars")
    assert first_title(page).startswith("metal")
    assert int(page.evaluate("document.body.dataset.answeredMs")) <= 300
    page.locator("#hits .play").first.click()
    wait_for_sound(page)
    assert page.locator("#now").text_content() == first_title(page)
    page.wait_for_selector("#now-wave svg")


def test_local_without_the_exported_files_says_what_is_missing_and_asks_the_server(server, browser):
    page = browser.new_page()
    page.goto(f"{server.address}?local")
    page.wait_for_selector("body[data-ready=whole]")
    assert '?local needs the files of "muq-hf export space --static"' in page.locator("#toast").text_content()
    search(page, "heavy metal guitars")
    assert first_title(page).startswith("metal")
    page.close()


def test_a_song_is_found_by_keyboard_alone(page):
    page.keyboard.press("/")
    page.keyboard.type("baroque orchestra")
    wait_until(page, "document.getElementById('what').textContent === '“baroque orchestra”'")
    wait_until(page, "document.getElementById('hits').getAttribute('aria-busy') === 'false'")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Play bach brandenburg"
    page.keyboard.press("Enter")
    wait_for_sound(page)
    page.keyboard.press("p")
    assert page.locator("#playlist-count").text_content() == "1"
    page.keyboard.press("m")
    wait_until(page, "document.getElementById('what').textContent === 'Like bach brandenburg'")


def test_a_dropped_song_finds_itself(page):
    content = list((EXAMPLE_AUDIO / "folk_celtic_pride.ogg").read_bytes())
    transfer = page.evaluate_handle(
        "bytes => { const all = new DataTransfer(); all.items.add(new File([new Uint8Array(bytes)], 'mine.ogg')); return all; }",
        content,
    )
    for event in ("dragenter", "dragover"):
        page.dispatch_event("body", event, {"dataTransfer": transfer})
    assert page.locator("#drop").is_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#hits .match")
    assert page.locator("#what").text_content() == "Like mine.ogg" and first_title(page) == "folk celtic pride"
    assert not page.locator("#drop").is_visible()


def test_a_click_on_the_map_plays_and_more_like_this_follows(page):
    place = page.evaluate("""() => {
        const map = document.getElementById('front'), box = map.getBoundingClientRect();
        return [box.left, box.top, box.width, box.height];
    }""")
    points = page.evaluate("""async () => {
        const answer = await (await fetch('map')).json();
        return [...new Uint16Array(Uint8Array.from(atob(answer.points), (letter) => letter.charCodeAt(0)).buffer)];
    }""")
    x, y = points[0] / 65535, 1 - points[1] / 65535
    page.mouse.click(place[0] + 22 + x * (place[2] - 44), place[1] + 22 + y * (place[3] - 44))
    wait_for_sound(page)
    title = page.locator("#now").text_content()
    assert title == "bach brandenburg"  # song 0
    page.click("#now-like")
    wait_until(page, f"document.getElementById('what').textContent === 'Like {title}'")
    page.wait_for_selector("#hits .match")
    assert title not in page.locator("#hits .title").all_text_contents()
    page.focus("#front")
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.getElementById('live').textContent.includes(':')")


def test_a_playlist_is_exported(page):
    for button in page.locator("#hits .add").all()[:2]:
        button.click()
    page.click("#open-playlist")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as M3U").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "#EXTM3U" and lines[2] == "bach_brandenburg.ogg" and download.value.suggested_filename == "playlist.m3u8"
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert [song["title"] for song in json.loads(download.value.path().read_text())] == ["bach brandenburg", "breakbeat gunroar"]


def test_a_songs_page_shows_tags_similarity_and_neighbours(page):
    page.locator("#hits .title", has_text="metal ezer ev").click()
    page.wait_for_selector("#song .short")
    assert "metal" in page.locator("#song .names").inner_text()
    assert page.locator("#song .parts button").count() == 3
    assert page.locator("#song .short .title").first.text_content() == "metal vermocsar"
    assert page.locator("#song canvas").first.get_attribute("aria-label").startswith("Tags over time: 0:00 to 0:05 metal")
    page.locator("#song .similar").click(position={"x": 5, "y": 5})
    wait_for_sound(page)
    page.keyboard.press("Escape")
    assert not page.locator("#song").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_finding_about_accessibility(page, theme, tmp_path):
    page.emulate_media(color_scheme=theme)
    search(page, "dark electronic")
    page.locator("#hits .play").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert serious_findings(page, tmp_path) == []
    page.locator("#hits .title").first.click()
    page.wait_for_selector("#song .short")
    assert serious_findings(page, tmp_path) == []


def test_it_fits_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click(".tabs [data-tab=map]")
    assert page.locator("#front").is_visible() and not page.locator("#hits").is_visible()


def test_a_missing_file_and_an_unsupported_codec_have_a_sentence(server, browser, music):
    page, _ = watched_page(browser)  # the browser itself writes its own line about both
    page.goto(server.address)
    page.wait_for_selector("#hits .hit")
    clip = music / "breakbeat_gunroar.ogg"
    for content, sentence in ((None, "no longer where it was"), (b"MAC \x96\x0f" + bytes(999), "cannot play .ogg files")):
        away = shutil.move(clip, clip.with_suffix(".away"))
        try:
            if content:
                clip.write_bytes(content)
            page.reload()
            page.get_by_role("button", name="Play breakbeat gunroar").click()
            wait_until(page, f"document.getElementById('toast').textContent.includes('{sentence}')")
        finally:
            shutil.move(away, clip)
    page.close()


def test_a_dead_server_has_a_sentence_and_the_page_goes_on_when_it_is_back(table, browser, server):
    """Comes last: it kills the server of this module."""
    page, _ = watched_page(browser)
    page.goto(server.address)
    page.wait_for_selector("body[data-ready=whole]")
    server.stop(signal.SIGKILL)
    page.fill("#query", "piano")
    page.wait_for_selector("#banner:visible")
    assert "The server does not answer. Start it again with muq-hf serve" in page.locator("#banner").text_content()
    again = Server(table, "--port", server.port)
    try:
        page.wait_for_selector("#banner", state="hidden")
        search(page, "baroque orchestra")
        assert first_title(page) == "bach brandenburg"
    finally:
        again.stop(signal.SIGKILL)
    page.close()


def test_an_empty_collection_and_a_missing_token_have_a_sentence(write_table, table, tmp_path, browser):
    settings = read_settings_of(table)
    empty = write_table(tmp_path / "empty.parquet", [], **settings)
    library = Library(empty, QueryEncoder.of_table(settings)[0])
    with served_in_a_thread(build_application(library, token="s3cret")) as address:
        page, _ = watched_page(browser)
        page.goto(address)
        page.wait_for_selector("#banner:visible")
        assert "wants its token" in page.locator("#banner").text_content()
        page.fill("#banner input", "s3cret")
        page.get_by_role("button", name="Open").click()
        page.wait_for_selector("#empty:visible")
        assert "There is no music here yet" in page.locator("#empty").text_content()
        page.close()
