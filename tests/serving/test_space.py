"""Folders for Spaces: one served as its Dockerfile says, one as plain files whose model runs in the browser."""

import base64
import functools
import json
import os
import re
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
import yaml
from checks import EXAMPLE_AUDIO
from odd_texts import odd_texts
from served_page import open_browser, serious_findings, wait_until, watched_page

import muq_hf
from muq_hf import cli
from muq_hf.audio import load_audio
from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.joint import JointModel
from muq_hf.serving.credits import Credit, read_credits
from muq_hf.serving.desk import Desk
from muq_hf.serving.library import Library
from muq_hf.serving.query_encoder import QueryEncoder, mean_vector
from muq_hf.serving.song_table import read_settings_of
from muq_hf.serving.space import write_space


PAGE = Path(muq_hf.__file__).parent / "serving" / "page.html"
CREDITS = read_credits(EXAMPLE_AUDIO / "attribution.jsonl")


def front_matter(folder) -> dict:
    return yaml.safe_load((folder / "README.md").read_text("utf-8").split("---")[1])


def test_songs_without_a_licence_are_not_published(table, tmp_path):
    credits = {path: credit for path, credit in CREDITS.items() if not path.startswith("metal")}
    with pytest.raises(ValueError, match=r"2 of 6 songs have no licence.*--licence NAME.*--credits FILE"):
        write_space(table, tmp_path / "space", credits, "Mine")
    assert not (tmp_path / "space").exists()


def test_credits_of_strangers_break_no_card(table, tmp_path):
    credit = Credit("a|b <img src=x>", "[free](http://evil)", "CC0-1.0", "javascript:alert(1)")
    address = "https://opengameart.org/content/my_song"
    credits = dict.fromkeys(CREDITS, credit) | {"metal_ezer_ev.ogg": credit._replace(source=address)}
    write_space(table, tmp_path / "space", credits, "Mine")
    card = (tmp_path / "space" / "README.md").read_text("utf-8")
    assert r"| a\|b \<img src=x\> | \[free\](http://evil) | CC0-1.0 | javascript:alert(1) |" in card
    assert f"| <{address}> |" in card


def test_a_docker_space_holds_music_licences_and_model_and_names_nothing_of_this_machine(table, music, tmp_path):
    write_space(table, tmp_path / "space", CREDITS, "Mine: of all")
    data = front_matter(tmp_path / "space")
    assert (data["sdk"], data["app_port"], data["title"]) == ("docker", 7860, "Mine: of all")
    assert read_credits(tmp_path / "space" / "attribution.jsonl")["audio/metal/metal_ezer_ev.ogg"] == CREDITS["metal_ezer_ev.ogg"]
    assert "Obsidian Shell | CC-BY-SA-3.0" in (tmp_path / "space" / "README.md").read_text("utf-8")
    assert sorted(path.name for path in (tmp_path / "space" / "muq_hf" / "checkpoints").iterdir() if path.is_dir()) == [
        "muq-mulan-tiny"
    ]
    requirements = (tmp_path / "space" / "requirements.txt").read_text()
    names = {line.partition("==")[0] for line in requirements.splitlines()}
    assert {"fastapi", "transformers"} <= names and {"torch", "pytest", "onnx"}.isdisjoint(names)
    for file in (tmp_path / "space").rglob("*"):
        if file.is_file() and file.parent.name != "serving":
            assert str(music).encode() not in file.read_bytes()


@pytest.mark.slow
def test_a_docker_space_runs_as_its_dockerfile_says(table, tmp_path):
    space = tmp_path / "space"
    write_space(table, space, {path: Credit("", "", "CC0-1.0") for path in CREDITS}, "Mine")
    command = re.search(r"^CMD (.*)$", (space / "Dockerfile").read_text(), re.MULTILINE)[1]
    command = command.replace("python", sys.executable, 1).replace("--port 7860", "--port 0")
    environment = os.environ | {"SPACE_HOST": "me-mine.hf.space", "PYTHONPATH": str(space)}
    process = subprocess.Popen(
        command,
        shell=True,
        cwd=space,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        hits = httpx2.get(f"{address}search", params={"text": "heavy metal"}, headers={"Host": "me-mine.hf.space"}).json()["hits"]
        assert hits[0]["song"]["title"].startswith("metal") and hits[0]["song"]["credit"] == "CC0-1.0"
        assert httpx2.get(f"{address}songs/{hits[0]['song']['id']}/audio").content[:4] == b"OggS"
        assert httpx2.get(f"{address}health", headers={"Host": "evil.example"}).status_code == 421
    finally:
        os.killpg(process.pid, 9)
        process.wait()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def static_space(table, tmp_path_factory):
    """→ the exported files, and their address at a server that only hands them out."""
    folder = tmp_path_factory.mktemp("static") / "space"
    credits = EXAMPLE_AUDIO / "attribution.jsonl"
    assert cli.main(["export", "space", str(table), str(folder), "--static", "--title", "Clips", "--credits", str(credits)]) == 0
    assert front_matter(folder)["sdk"] == "static"
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def static_page(static_space):
    """A page of the exported files, without a server of ours, which must write no error to its console."""
    folder, address = static_space
    with open_browser(viewport={"width": 1280, "height": 800}) as context:
        page, errors = watched_page(context)
        page.goto(address)
        page.wait_for_selector("body[data-ready=whole]")
        about = json.loads((folder / "collection.json").read_text("utf-8"))
        page.evaluate("async (about) => { window.model = (await import('./local.js')).openModel(about); }", about)
        yield page
        assert errors == []


@pytest.fixture(scope="module")
def joint():
    return JointModel(MUQ_MULAN_TINY)


def cosines(found, expected) -> np.ndarray:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return (found * expected).sum(axis=-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(expected, axis=-1)


def samples_of(values) -> list[float]:
    return np.asarray(values, np.float32).tolist()


@pytest.mark.slow
def test_the_tokenizer_in_javascript_gives_our_tokens_for_a_thousand_texts(static_page, joint):
    texts = odd_texts()
    found = static_page.evaluate(
        """async (texts) => {
            const { Tokenizer } = await import('./tokenizer.js');
            const tokenizer = new Tokenizer(await (await fetch('./model/tokenizer.json')).json());
            return texts.map((text) => tokenizer.encode(text));
        }""",
        texts,
    )
    expected = joint.processor.tokenizer(texts, truncation=True, max_length=64)["input_ids"]
    assert len(texts) == 1000 and max(map(len, expected)) == 64
    wrong = [(text, ours, theirs) for text, ours, theirs in zip(texts, expected, found, strict=True) if ours != theirs]
    assert wrong == []


@pytest.mark.slow
def test_text_vectors_in_the_browser_are_pytorchs(static_page, joint):
    texts = ["calm piano, rainy mood", "heavy metal", "jazz", "音楽", "a very long description of music " * 20]
    found = static_page.evaluate("async (texts) => (await model.texts(texts)).map((vector) => [...vector])", texts)
    assert cosines(found, joint.embed_texts(texts)).min() >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 3.7, 12.0])
def test_audio_vectors_in_the_browser_are_pytorchs(static_page, table, tmp_path, seconds):
    """From the same samples; parts of 5 s, of which the last is shorter or joined to the one before."""
    wave = load_audio(EXAMPLE_AUDIO / "folk_celtic_pride.ogg")[: round(24_000 * seconds)]
    soundfile.write(tmp_path / "x.wav", wave, 24_000, subtype="FLOAT")
    encoder, _ = QueryEncoder.of_table(read_settings_of(table))
    spans, vectors = encoder.audio(tmp_path / "x.wav", 60)
    found = static_page.evaluate(
        """async (samples) => {
            const { spans, vectors } = await model.parts(Float32Array.from(samples));
            return [spans, vectors.map((vector) => [...vector])];
        }""",
        samples_of(wave),
    )
    np.testing.assert_allclose(found[0], spans, atol=1e-3)
    assert cosines(found[1], vectors).min() >= 0.9999


@pytest.mark.slow
def test_a_file_that_the_browser_decodes_gives_nearly_the_vector_of_ours(static_page, table):
    """Decoders and resamplers are others than ours, and the model hears up to the last hertz."""
    clips = sorted(EXAMPLE_AUDIO.glob("*.ogg"))
    encoder, _ = QueryEncoder.of_table(read_settings_of(table))
    found = [
        static_page.evaluate(
            """async (text) => {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                const samples = await model.decode(new File([bytes], 'x.ogg'));
                return [...(await model.parts(samples.slice(0, 120000))).vectors[0]];
            }""",
            base64.b64encode(clip.read_bytes()).decode(),
        )
        for clip in clips
    ]
    assert cosines(found, [encoder.audio(clip, 60)[1][0] for clip in clips]).min() >= 0.999


@pytest.mark.slow
def test_the_page_without_a_server_answers_as_the_server_does(static_page, table):
    library = Library(table, QueryEncoder.of_table(read_settings_of(table))[0])
    desk = Desk(library)
    for parameters in (
        {"text": "baroque orchestra"},
        {"text": "heavy metal", "per": "part"},
        {"song": 4},
        {"song": 4, "part": 1, "per": "part"},
    ):
        found = static_page.evaluate(
            """async (parameters) => {
                window.answers ??= await (await import('./local.js')).openLocal(() => {});
                return (await answers.search({ top_k: 6, ...parameters })).hits.map((hit) => [hit.song.id, hit.cosine]);
            }""",
            parameters,
        )
        arguments = {"text": None, "song": None, "part": None, "per": "song"} | parameters
        expected = desk.search(**arguments, top_k=6, folder="", tag="", repeats=False).hits
        assert [song for song, _ in found] == [hit.song.id for hit in expected]
        np.testing.assert_allclose([cosine for _, cosine in found], [hit.cosine for hit in expected], atol=2e-3)


@pytest.mark.slow
def test_words_a_file_and_the_first_hit_work_without_a_server(static_page, tmp_path):
    page = static_page
    page.fill("#query", "heavy metal guitars")
    wait_until(
        page, "document.querySelector('#hits .match') && document.getElementById('hits').getAttribute('aria-busy') === 'false'"
    )
    assert page.locator("#hits .title").first.text_content().startswith("metal")
    page.locator("#hits .play").first.click()
    wait_until(page, "document.getElementById('audio').currentTime > 0.3")
    page.set_input_files("#file", EXAMPLE_AUDIO / "bach_brandenburg.ogg")
    wait_until(page, "document.getElementById('hits').getAttribute('aria-busy') === 'false'")
    assert page.locator("#hits .title").first.text_content() == "bach brandenburg"
    page.locator("#hits .title").first.click()
    page.wait_for_selector("#song .short")
    assert "Brandenburg Concerto No. 2" in page.locator("#song").inner_text()
    assert serious_findings(page, tmp_path) == []


@pytest.mark.slow
def test_the_page_that_the_server_sends_needs_no_server_with_local_in_its_address(static_space, static_page):
    folder, address = static_space
    page, errors = watched_page(static_page.context)
    (folder / "page.html").write_text(PAGE.read_text("utf-8"), "utf-8")
    page.goto(f"{address}page.html?local")
    page.wait_for_selector("body[data-ready=whole]")
    page.fill("#query", "heavy metal guitars")
    wait_until(
        page, "document.querySelector('#hits .match') && document.getElementById('hits').getAttribute('aria-busy') === 'false'"
    )
    assert page.locator("#hits .title").first.text_content().startswith("metal")
    page.close()
    assert errors == []


def test_mean_of_parts_weighs_them_by_length():
    vectors = np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(mean_vector(np.array([[0, 3.0], [3, 4]]), vectors), np.array([3, 1]) / np.sqrt(10))
