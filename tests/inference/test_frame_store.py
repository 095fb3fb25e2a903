import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from muq_hf.audio import load_audio
from muq_hf.inference.embedding import embed_files
from muq_hf.inference.encoding import WindowEncoder
from muq_hf.inference.frame_store import FrameStore


@pytest.fixture
def embed(tiny_model, tmp_path):
    def run(inputs, **options):
        options = {"pool": "none", "workers": 0, "progress": False, **options}
        return embed_files(inputs, tiny_model, tmp_path / "frames", **options)

    return run


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


@torch.no_grad()
def frames_by_hand(model, path, layer=2):
    return model(torch.from_numpy(load_audio(path))[None], output_hidden_states=True).hidden_states[layer][0]


def test_files_hold_the_frames_of_the_model(embed, write_song, tiny_model):
    songs = [write_song("a/same.wav", 2.3, 1), write_song("b/same.wav", 0.6, 2)]
    report = embed(songs, layer=1)
    assert report.rows == 2
    for path, line in zip(songs, manifest(report.output), strict=True):
        assert line["path"] == str(path) and line["layer"] == 1
        frames = load_file(report.output / line["file"])["frames"]
        expected = frames_by_hand(tiny_model, path, layer=1)
        assert frames.dtype == torch.float32 and line["frames"] == len(frames) == len(expected)
        torch.testing.assert_close(frames, expected, atol=1e-4, rtol=0)


def test_frames_of_windows_stand_side_by_side(embed, write_song, tiny_model):
    path = write_song("a.wav", 3.31)
    report = embed(path, window_length_s=1.4, stride_length_s=0.2, batch_size=2)
    frames = load_file(report.output / manifest(report.output)[0]["file"])["frames"]
    audio = torch.from_numpy(load_audio(path))[None]
    with torch.no_grad():
        windows = [tiny_model(audio[:, start : start + 33_600]).last_hidden_state[0] for start in (0, 24_000, 48_000)]
    expected = torch.cat([windows[0][:30], windows[1][5:30], windows[2][5:]])
    torch.testing.assert_close(frames, expected, atol=1e-4, rtol=0)


def test_headers_tell_where_frames_come_from(embed, write_song):
    report = embed(write_song("a.wav", 1.0))
    with safe_open(report.output / manifest(report.output)[0]["file"], framework="pt") as file:
        assert file.metadata()["layer"] == "2" and file.metadata()["frame_rate"] == "25.0"
        assert file.metadata()["fingerprint"] == manifest(report.output)[0]["fingerprint"]


@pytest.mark.parametrize("cut", ["after a batch", "before a file is noted as complete"])
def test_a_cut_run_resumes_to_the_frames_of_a_whole_one(embed, write_song, tiny_model, monkeypatch, cut):
    songs = [write_song(f"{index}.wav", 2.0 + index / 3, index) for index in range(3)]
    cut_method = "add" if cut == "after a batch" else "_line"
    original, calls = getattr(FrameStore, cut_method), []

    def cut_off(self, *arguments):
        calls.append(arguments)
        if len(calls) == (5 if cut_method == "add" else 2):
            raise KeyboardInterrupt(signal.SIGINT)
        return original(self, *arguments)

    monkeypatch.setattr(FrameStore, cut_method, cut_off)
    with pytest.raises(KeyboardInterrupt):
        embed(songs, window_length_s=1.0, batch_size=2)
    monkeypatch.undo()
    report = embed(songs, window_length_s=1.0, batch_size=2, resume=True)
    assert report.rows == 3 and 0 < report.audio_seconds < 7.0
    for path, line in zip(songs, sorted(manifest(report.output), key=lambda line: line["path"]), strict=True):
        frames = load_file(report.output / line["file"])["frames"]
        expected = torch.cat([tiny_model_frames(tiny_model, path, start) for start in range(0, len(load_audio(path)), 24_000)])
        torch.testing.assert_close(frames, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def tiny_model_frames(model, path, start: int) -> torch.Tensor:
    return model(torch.from_numpy(load_audio(path))[None, start : start + 24_000]).last_hidden_state[0]


def test_resume_adds_files_and_overwrite_removes_what_it_replaces(embed, write_song):
    songs = [write_song(f"{name}.wav", 0.5, seed) for seed, name in enumerate("abc")]
    embed(songs[:1])
    report = embed(songs[:2], resume=True)
    assert report.audio_seconds == 0.5 and [Path(line["path"]).stem for line in manifest(report.output)] == ["a", "b"]
    with pytest.raises(ValueError, match="frames exists"):
        embed(songs[2:])
    report = embed(songs[2:], overwrite=True)
    assert [path.name[0] for path in report.output.glob("*.safetensors")] == ["c"]


def check_folder(folder: Path) -> set[int]:
    """Every file is what the manifest says of it → their layers."""
    for line in manifest(folder):
        with safe_open(folder / line["file"], framework="pt") as file:
            assert file.metadata()["layer"] == str(line["layer"]) and file.metadata()["fingerprint"] == line["fingerprint"]
            assert len(file.get_tensor("frames")) == line["frames"]
    return {line["layer"] for line in manifest(folder)}


@pytest.mark.parametrize("change", ["layer", "audio"])
@pytest.mark.parametrize("cut", range(6))
def test_an_overwrite_cut_off_leaves_files_that_are_what_the_manifest_says(embed, write_song, monkeypatch, tmp_path, change, cut):
    songs = [write_song(f"{name}.wav", 0.5, seed) for seed, name in enumerate("ab")]
    layer = 1 if change == "layer" else 2
    embed(songs, layer=layer)
    if change == "audio":
        songs = [write_song(f"{name}.wav", 0.7, seed) for seed, name in enumerate("ab")]
    done = []

    def cut_off(operation):
        def changed(*paths, **options):
            if Path(paths[-1]).parent == tmp_path / "frames":
                done.append(paths[-1])
                if len(done) == cut + 1:
                    raise KeyboardInterrupt
            return operation(*paths, **options)

        return changed

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, cut_off(getattr(os, name)))
    with pytest.raises(KeyboardInterrupt):
        embed(songs, layer=2, overwrite=True)
    monkeypatch.undo()
    assert len(manifest(tmp_path / "frames")) == 2 and len(check_folder(tmp_path / "frames")) == 1
    report = embed(songs, layer=2, resume=True)
    assert report.audio_seconds == 0 and check_folder(report.output) == {2}
    frames = {path.name for path in report.output.glob("*.safetensors")}
    assert frames == {line["file"] for line in manifest(report.output)}


def test_overwrite_leaves_a_folder_with_the_manifest_of_something_else(embed, write_song, tmp_path):
    path = write_song("frames/a.wav", 0.5)
    (tmp_path / "frames" / "manifest.jsonl").write_text('{"path": "a.wav", "file": "a.wav"}\n')
    with pytest.raises(ValueError, match="frames is no output of `muq-hf embed --pool none`"):
        embed(path, overwrite=True)
    assert path.exists()


def test_the_output_can_be_the_current_folder(tiny_model, write_song, tmp_path, monkeypatch):
    path = write_song("a.wav", 0.5)
    (tmp_path / "frames").mkdir()
    monkeypatch.chdir(tmp_path / "frames")
    assert embed_files(path, tiny_model, ".", pool="none", workers=0, progress=False).rows == 1
    assert len(manifest(tmp_path / "frames")) == 1


def test_the_root_is_refused_as_output():
    with pytest.raises(ValueError, match="must be a folder with a name, got '/'"):
        FrameStore.check_output(Path("/"))


def test_failures_of_frames_and_of_a_table_of_one_name_are_listed_apart(embed, write_song, tiny_model, tmp_path):
    (tmp_path / "empty.wav").touch()
    report = embed(tmp_path / "empty.wav")
    embed_files(write_song("a.wav", 0.5), tiny_model, tmp_path / "frames.parquet", workers=0, progress=False)
    assert report.failures_file == tmp_path / "frames" / "failures.jsonl" and report.failures_file.exists()


def test_resume_refuses_frames_of_another_layer(embed, write_song):
    songs = [write_song("a.wav", 0.5), write_song("b.wav", 0.5)]
    embed(songs[:1])
    with pytest.raises(ValueError, match="made with other settings.*layers"):
        embed(songs, layer=1, resume=True)


def test_failed_files_leave_no_frames(embed, write_song, monkeypatch):
    songs = [write_song("good.wav", 2.0, 1), write_song("bad.wav", 2.0, 2)]

    def broken(self, windows, encode=WindowEncoder.__call__):
        values = encode(self, windows)
        return [v * torch.nan if "bad" in w.path and w.start else v for v, w in zip(values, windows, strict=True)]

    monkeypatch.setattr(WindowEncoder, "__call__", broken)
    report = embed(songs, window_length_s=1.0, batch_size=1)
    assert [Path(f.path).name for f in report.failures] == ["bad.wav"]
    assert [path.name[:4] for path in report.output.parent.rglob("*.safetensors")] == ["good"]


def test_where_no_file_can_be_read_an_old_folder_stays_as_it_is(embed, write_song, tmp_path):
    (tmp_path / "bad.wav").touch()
    report = embed([tmp_path / "bad.wav"])
    assert report.rows == 0 and [path.name for path in report.output.iterdir()] == ["failures.jsonl"]
    embed([write_song("good.wav", 0.5)], resume=True)
    before = manifest(report.output)
    assert embed([tmp_path / "bad.wav"], overwrite=True).rows == 0
    assert manifest(report.output) == before and len(before) == 1 and (report.output / before[0]["file"]).exists()
