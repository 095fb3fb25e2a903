"""The API through HTTP, on real clips with the package's own model."""

import base64

import numpy as np
import pytest
from checks import EXAMPLE_AUDIO
from fastapi.testclient import TestClient

from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.embedding import embed_files
from muq_hf.inference.joint import JointModel
from muq_hf.serving.application import build_application
from muq_hf.serving.library import Library, Watcher
from muq_hf.serving.query_encoder import QueryEncoder
from muq_hf.serving.song_table import read_settings_of, read_song_table
from muq_hf.serving.uploads import UploadLimits


BACH = (EXAMPLE_AUDIO / "bach_brandenburg.ogg").read_bytes()
LIMITS = UploadLimits(max_bytes=2 * 2**20, max_seconds=5.0, max_audio_seconds=60.0)


@pytest.fixture(scope="module")
def library(table):
    return Library(table, QueryEncoder.of_table(read_settings_of(table))[0])


@pytest.fixture(scope="module")
def client(library):
    with TestClient(build_application(library, limits=LIMITS), base_url="http://127.0.0.1") as client:
        yield client


def titles(answer):
    assert answer.status_code == 200, answer.text
    return [hit["song"]["title"] for hit in answer.json()["hits"]]


def song_called(client, title):
    return next(song for song in client.get("/songs").json()["songs"] if song["title"] == title)


def test_words_find_the_music_that_they_describe(client):
    found = titles(client.get("/search", params={"text": "heavy metal guitars"}))
    assert set(found[:2]) == {"metal ezer ev", "metal vermocsar"} and len(found) == 6
    assert titles(client.get("/search", params={"text": "calm baroque orchestra"}))[0] == "bach brandenburg"
    assert len(titles(client.get("/search", params={"text": "metal", "folder": "metal"}))) == 2


def test_a_song_leads_to_one_that_is_like_it(client):
    song = song_called(client, "metal ezer ev")
    assert titles(client.get("/search", params={"song": song["id"]}))[0] == "metal vermocsar"
    hit = client.get("/search", params={"song": song["id"], "part": 1, "per": "part"}).json()["hits"][0]
    assert hit["song"]["title"] == "metal vermocsar" and hit["end"] - hit["start"] < 6


def test_an_uploaded_file_finds_itself_first(client):
    answer = client.post("/search", params={"name": "x.ogg"}, content=BACH)
    assert titles(answer)[0] == "bach brandenburg"
    assert answer.json()["hits"][0]["cosine"] > 0.999 and answer.json()["duration"] == pytest.approx(12, abs=0.1)


def test_tags_over_time_are_cosines_of_parts_and_words(client, table):
    song = song_called(client, "bach brandenburg")
    answer = client.get("/tags", params={"song": song["id"], "labels": "orchestra, heavy metal"}).json()
    content = read_song_table(table)
    parts = content.vectors[content.first[song["id"]] : content.first[song["id"] + 1]].astype(np.float32)
    words = JointModel(read_settings_of(table)["model"], "text").embed_texts(["orchestra", "heavy metal"])
    np.testing.assert_allclose(answer["cosines"], parts @ words.T, atol=1e-3)
    assert answer["spans"][:2] == [[0, 5], [5, 10]]
    assert client.post("/tags", content=BACH).json()["labels"][0] == "rock"


def test_audio_is_the_file_itself_also_in_ranges(client):
    song = song_called(client, "bach brandenburg")["id"]
    whole = client.get(f"/songs/{song}/audio")
    assert whole.content == BACH and whole.headers["content-type"] == "audio/ogg"
    part = client.get(f"/songs/{song}/audio", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == BACH[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(BACH)}"
    assert client.get(f"/songs/{song}/audio", headers={"Range": f"bytes={len(BACH) + 5}-"}).status_code == 416


def test_the_map_has_a_point_and_groups_for_every_song(client):
    answer = client.get("/map").json()
    points = np.frombuffer(base64.b64decode(answer["points"]), "<u2").reshape(-1, 2)
    assert len(points) == answer["songs"] == 6 and points.max() == 65_535
    folder = np.frombuffer(base64.b64decode(answer["folder"]), "<u2")
    assert sorted(answer["folders"][index] for index in folder) == [""] * 4 + ["metal"] * 2


def test_waveform_similarity_facets_and_health(client):
    song = song_called(client, "metal ezer ev")["id"]
    peaks = client.get(f"/songs/{song}/waveform").json()["peaks"]
    assert len(peaks) == 240 and max(peaks) == 255 and min(peaks) >= 0
    cosines = np.array(client.get(f"/songs/{song}/similarity").json()["cosines"])
    np.testing.assert_allclose(np.diag(cosines), 1, atol=2e-3)
    np.testing.assert_allclose(cosines, cosines.T)
    assert {"name": "metal", "songs": 2} in client.get("/facets").json()["folders"]
    health = client.get("/health").json()
    assert (health["songs"], health["rows"], health["model"]) == (6, 18, "muq-mulan-tiny")


def test_embeddings_are_in_openais_form_and_those_of_the_model(client, table):
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(BACH).decode(), "format": "ogg"}}
    answer = client.post("/v1/embeddings", json={"input": ["calm piano", sound], "model": "any"}).json()
    model = JointModel(read_settings_of(table)["model"])
    expected = [model.embed_texts(["calm piano"])[0], model.embed_file(EXAMPLE_AUDIO / "bach_brandenburg.ogg")]
    for item, vector in zip(answer["data"], expected, strict=True):
        np.testing.assert_allclose(item["embedding"], vector, atol=1e-4)
    packed = client.post("/embed", json={"input": "calm piano", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), expected[0], atol=1e-5)
    assert answer["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize(
    "ask, status, words",
    [
        (lambda c: c.get("/search"), 400, "ask by text or by song"),
        (lambda c: c.get("/search", params={"text": "  "}), 400, "words to search for are empty"),
        (lambda c: c.get("/search", params={"text": "x" * 3000}), 400, "may have 2000 characters"),
        (lambda c: c.get("/search", params={"text": "a", "top_k": 0}), 422, "top_k"),
        (lambda c: c.get("/search", params={"song": 99}), 404, "there is no song 99: the collection has 6"),
        (lambda c: c.get("/search", params={"text": "a", "tag": "nonsense"}), 400, "there is no tag"),
        (lambda c: c.post("/search", content=b""), 400, "upload is empty"),
        (lambda c: c.post("/search", content=b"\x00\x01 no audio" * 9), 415, "Cannot read the uploaded file"),
        (lambda c: c.post("/search", content=b"ffconcat version 1.0\nfile /etc/passwd\n"), 415, "is text, not audio"),
        (lambda c: c.post("/search", content=bytes(3 * 2**20)), 413, "larger than 2 MB"),
        (lambda c: c.post("/search", content=(bytes(2**20) for _ in range(3))), 413, "larger than 2 MB"),
        (lambda c: c.post("/embed", content=b"{"), 422, "must be JSON like"),
        (lambda c: c.post("/embed", json={"input": []}), 422, "takes 1 to 256 items"),
        (lambda c: c.post("/embed", json={"input": "a", "dimensions": 7}), 422, "have 128 dimensions"),
        (lambda c: c.post("/embed", json={"input": "data:audio/ogg;base64,%%"}), 400, "must be the base64"),
        (lambda c: c.get("/songs/-1/audio"), 404, "there is no song -1"),
        (lambda c: c.get("/songs/..%2f..%2fetc%2fpasswd/audio"), 404, None),
        (lambda c: c.get("/songs/%2fetc%2fpasswd"), 404, None),
        (lambda c: c.get("/page.html"), 404, None),
        (lambda c: c.get("/../setup.cfg"), 404, None),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(client, ask, status, words):
    answer = ask(client)
    assert answer.status_code == status, answer.text
    if words:
        assert words in answer.json()["detail"]


def test_a_file_that_has_gone_has_a_sentence(client, music):
    clip = music / "breakbeat_gunroar.ogg"
    song = song_called(client, "breakbeat gunroar")["id"]
    clip.rename(clip.with_suffix(".away"))
    try:
        for path in ("audio", "waveform"):
            answer = client.get(f"/songs/{song}/{path}")
            assert answer.status_code == 404
            assert answer.json()["detail"] == "breakbeat_gunroar.ogg is no longer where it was when the music was embedded."
    finally:
        clip.with_suffix(".away").rename(clip)


def test_nothing_of_the_machine_is_told(client, table, music):
    for path in ("/songs", "/search?text=metal", "/health", "/map", "/facets", "/openapi.json"):
        assert str(music) not in client.get(path).text and str(table.parent) not in client.get(path).text


def test_pages_load_nothing_from_elsewhere(client):
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org/", "") and "https://" not in answer.text


@pytest.mark.parametrize("output", ["songs.parquet", "fragments/"])
def test_watching_adds_songs_that_have_stopped_growing(output, music, tmp_path):
    own = f"{tmp_path}/{output}"
    embed_files(music / "metal", MUQ_MULAN_TINY, own, workers=0, progress=False)
    library = Library(own, QueryEncoder.of_table(read_settings_of(own))[0])
    folder, lines = tmp_path / "new", []
    folder.mkdir()
    watcher = Watcher(library, folder, lines.append)
    (folder / "new.ogg").write_bytes(BACH[:5000])
    (folder / "broken.ogg").write_bytes(b"OggS no more")
    assert watcher.look() == 0  # seen for the first time
    (folder / "new.ogg").write_bytes(BACH)
    assert watcher.look() == 0  # it has grown; broken.ogg is tried and reported
    assert watcher.look() == 1 and watcher.look() == 0
    assert len(library.collection) == 3 and library.collection.titles[-1] == "new" and library.generation == 1
    assert len(lines) == 2 and "broken.ogg" in lines[0] and lines[1] == "1 new song added: 3 in all."
