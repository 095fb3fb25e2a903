"""embed_files: what the rows are, whatever way they were made."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mulan_models
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import muq_hf
from muq_hf import MuQModel
from muq_hf.audio import load_audio
from muq_hf.inference.decoding_worker import FileEnd, FileWindow
from muq_hf.inference.embedding import embed_files
from muq_hf.inference.encode_loop import LOOK_AHEAD, bucket_by_length
from muq_hf.inference.encoding import WindowEncoder
from muq_hf.models.pooling_muq import pool_frames
from muq_hf.storage.fingerprint import weights_hash


SECONDS = (0.5, 2.3, 1.0, 3.7, 0.05, 1.61)


@pytest.fixture
def embed(tiny_model, tmp_path):
    """embed(inputs, **options) → (table sorted as written, empty where none is written; report)."""

    def run(inputs, **options):
        options = {"model": tiny_model, "output": tmp_path / "e.parquet", "workers": 0, "progress": False, **options}
        report = embed_files(inputs, **options)
        return pd.read_parquet(report.output) if Path(report.output).exists() else pd.DataFrame(), report

    return run


@pytest.fixture
def songs(write_song) -> list[Path]:
    return [write_song(f"songs/{index}.wav", seconds, index) for index, seconds in enumerate(SECONDS)]


def matrix(table: pd.DataFrame) -> np.ndarray:
    return np.stack(table.embedding.to_list())


def windows_by_hand(model: MuQModel, audio: np.ndarray, length: float, stride: float) -> list[torch.Tensor]:
    """The kept frames [1, n, D] of windows of `length` seconds of which the inner ones drop `stride` on either side."""
    size, context = round(length * 24_000), round(stride * 24_000)
    kept = []
    for start in range(0, len(audio) - 2 * context, size - 2 * context):
        frames = states_by_hand(model, audio[start : start + size], 2)
        first = 0 if start == 0 else context // 960
        last = None if start + size >= len(audio) or not context else -context // 960
        kept.append(frames[:, first:last])
    return kept


@torch.no_grad()
def states_by_hand(model: MuQModel, audio: np.ndarray, layer: int) -> torch.Tensor:
    return model(torch.from_numpy(audio)[None], output_hidden_states=True).hidden_states[layer]  # [1, T, D]


@pytest.mark.parametrize(("layer", "pool"), [(-1, "mean"), (1, "max"), (0, "mean+std"), (1, "std")])
def test_a_row_is_the_pooled_model_output_of_its_file(embed, songs, tiny_model, layer, pool):
    table, report = embed(songs, layer=layer, pool=pool, batch_size=3)
    assert table.path.to_list() == [str(path) for path in songs]
    assert report.rows == report.files == len(songs) and not report.failures
    expected = [pool_frames(states_by_hand(tiny_model, load_audio(path), layer), None, pool)[0] for path in songs]
    np.testing.assert_allclose(matrix(table), torch.stack(expected), atol=1e-4)


def test_rows_do_not_depend_on_the_batch(embed, songs):
    alone, _ = embed(songs, batch_size=1, window_length_s=1.0)
    together, _ = embed(songs, batch_size=7, window_length_s=1.0, overwrite=True)
    assert alone.drop(columns="embedding").equals(together.drop(columns="embedding"))
    np.testing.assert_allclose(matrix(alone), matrix(together), atol=1e-4)


@pytest.mark.parametrize("stride", [0.0, 0.2])
def test_a_long_file_is_the_pool_of_its_windows_kept_frames(embed, write_song, tiny_model, stride):
    path = write_song("long.wav", 5.0)
    table, _ = embed(path, window_length_s=1.4, stride_length_s=stride, pool="mean+std")
    kept = torch.cat(windows_by_hand(tiny_model, load_audio(path), 1.4, stride), dim=1)
    assert kept.shape[1] == 125
    np.testing.assert_allclose(matrix(table), pool_frames(kept, None, "mean+std"), atol=1e-4)


def test_chunks_are_rows_with_their_place(embed, write_song, tiny_model):
    path = write_song("a.wav", 5.3)
    table, _ = embed(path, chunk_length_s=2.0)
    assert list(zip(table.start, table.end, strict=True)) == [(0.0, 2.0), (2.0, 4.0), (4.0, 5.3)]
    for row in table.itertuples():
        expected = states_by_hand(tiny_model, load_audio(path, start=row.start, end=row.end), 2).mean(dim=1)[0]
        np.testing.assert_allclose(row.embedding, expected, atol=1e-4)


def test_whole_files_have_their_duration(embed, songs):
    table, report = embed(songs, window_length_s=1.0)
    assert table.start.to_list() == [0.0] * len(songs)
    assert table.end.to_list() == pytest.approx(SECONDS)
    assert report.audio_seconds == pytest.approx(sum(SECONDS))


def test_several_layers_give_a_row_each(embed, songs):
    table, _ = embed(songs[:2], layer=(-1, 0, 2))
    assert table.layer.to_list() == [0, 2, 0, 2]
    single, _ = embed(songs[:2], layer=0, overwrite=True)
    np.testing.assert_allclose(matrix(table[table.layer == 0]), matrix(single), atol=1e-6)


@pytest.mark.parametrize("layer", [np.int64(1), np.array([1]), (np.int32(1),)])
def test_layers_may_be_integers_of_numpy(embed, songs, layer):
    assert embed(songs[:1], layer=layer)[0].layer.to_list() == [1]


def test_a_loaded_model_of_another_class_is_refused_by_name(embed, songs):
    message = "a loaded MuQModel or MuQMuLanAudioModelWithProjection, got a MuQMuLanModel"
    with pytest.raises(TypeError, match=message):
        embed(songs[:1], model=mulan_models.tiny_model())


def test_rows_name_model_revision_and_fingerprint(embed, songs, model_folder):
    table, _ = embed(songs[:1], model=model_folder)
    assert table.model[0] == str(model_folder)
    assert table.revision[0].startswith("sha256:") and len(table.fingerprint[0]) == 16


def test_a_loaded_model_and_its_folder_are_the_same_model(tiny_model, model_folder):
    assert weights_hash(tiny_model) == weights_hash(MuQModel.from_pretrained(model_folder))
    assert weights_hash(tiny_model) != weights_hash(MuQModel.from_pretrained(model_folder, dtype=torch.bfloat16))


def test_half_precision_is_near_and_has_another_fingerprint(embed, songs, model_folder):
    full, _ = embed(songs, model=model_folder)
    half, _ = embed(songs, model=model_folder, dtype="bfloat16", overwrite=True)
    assert half.embedding[0].dtype == np.float32
    assert full.fingerprint[0] != half.fingerprint[0]
    cosine = torch.cosine_similarity(torch.from_numpy(matrix(full)), torch.from_numpy(matrix(half)))
    assert cosine.min() >= 0.999


def test_odd_names_links_and_repeated_inputs(embed, write_song, tmp_path):
    path = write_song("ñ 音 #1.wav", 0.3)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    os.link(path, odd)
    (tmp_path / "link.wav").symlink_to(path)
    table, report = embed([path, tmp_path / "link.wav", path, odd, tmp_path])
    assert [Path(name).name for name in table.path] == ["ñ 音 #1.wav", "link.wav", "caf\\xe9.wav"]
    assert report.files == 3
    again, report = embed([tmp_path], resume=True)
    assert len(again) == 3 and report.audio_seconds == 0


def test_failures_are_recorded_and_do_not_stop_the_rest(embed, songs, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no music")
    soundfile.write(tmp_path / "silent.flac", np.zeros(30_000), 24_000)
    soundfile.write(tmp_path / "tiny.wav", 0.1 * np.ones(500), 24_000)
    names = ("empty.wav", "text.mp3", "silent.flac", "tiny.wav", "none.wav")
    table, report = embed([*(tmp_path / name for name in names), *songs])
    assert len(table) == len(songs)
    lines = [json.loads(line) for line in report.failures_file.read_text().splitlines()]
    assert report.failures_file == tmp_path / "e.failures.jsonl"
    reasons = {Path(line["path"]).name: line["reason"] for line in lines}
    assert reasons == dict(zip(names, ("empty", "unreadable", "silent", "too short", "missing"), strict=True))
    assert all(line["message"] for line in lines)


def test_a_bad_line_of_a_manifest_is_a_failure_and_the_others_are_embedded(embed, songs, tmp_path):
    manifest = tmp_path / "list.jsonl"
    manifest.write_text(f'{{"path": "{songs[0]}"}}\n{{broken\n{{"path": "{songs[1]}"}}\n')
    table, report = embed(manifest)
    assert table.path.to_list() == [str(songs[0]), str(songs[1])]
    (failure,) = report.failures
    assert (failure.path, failure.reason) == (f"{manifest}:2", "bad line") and "list.jsonl, line 2: no JSON" in failure.message
    manifest.write_text(f'{{"path": "{songs[0]}"}}\n')
    assert not embed(manifest, resume=True)[1].failures_file.exists()


def test_failures_of_an_earlier_run_are_forgotten_once_they_are_mended(embed, write_song, tmp_path):
    (tmp_path / "a.wav").touch()
    _, report = embed([tmp_path / "a.wav"])
    assert report.failures_file.exists()
    write_song("a.wav", 0.5)
    table, report = embed([tmp_path / "a.wav"], resume=True)
    assert len(table) == 1 and not report.failures and not report.failures_file.exists()


def test_where_no_file_can_be_read_no_table_is_left_and_an_old_one_stays(embed, songs, tmp_path):
    (tmp_path / "bad.wav").touch()
    _, report = embed([tmp_path / "bad.wav"])
    assert report.rows == 0 and len(report.failures) == 1
    assert sorted(path.name for path in tmp_path.glob("e.*")) == ["e.failures.jsonl"]
    embed(songs[:1])
    table, report = embed([tmp_path / "bad.wav"], overwrite=True)
    assert report.rows == 0 and len(table) == 1


def test_failures_stay_listed_until_they_are_mended(embed, write_song, tmp_path):
    bad = [tmp_path / "bad.wav", tmp_path / "worse.wav"]
    for path in bad:
        path.touch()
    embed(bad)
    write_song("bad.wav", 0.5)
    table, report = embed([bad[0], write_song("good.wav", 0.5)], resume=True)
    assert len(table) == 2 and not report.failures
    assert [json.loads(line)["path"] for line in report.failures_file.read_text().splitlines()] == [str(bad[1])]


def test_a_list_of_failures_that_cannot_be_read_is_refused_by_name(embed, songs, tmp_path):
    (tmp_path / "e.failures.jsonl").write_text("{")
    with pytest.raises(ValueError, match="e.failures.jsonl is no list of failures .* move it away"):
        embed(songs[:1], resume=True)


@pytest.mark.parametrize("pool", ["mean", "none"])
def test_a_file_that_changed_since_is_not_in_the_output_and_resume_embeds_it(tiny_model, write_song, tmp_path, monkeypatch, pool):
    changing, other = write_song("a.wav", 0.5, 1), write_song("b.wav", 0.5, 2)
    output = tmp_path / ("e" if pool == "none" else "e.parquet")
    options = {"pool": pool, "workers": 0, "batch_size": 1, "progress": False}

    def rows() -> dict[str, float]:
        """path → end (s)"""
        table = pd.read_json(output / "manifest.jsonl", lines=True) if pool == "none" else pd.read_parquet(output)
        return dict(zip(table.path, table.end, strict=True))

    def change_after(self, windows, encode=WindowEncoder.__call__):
        if windows[0].path == str(other):
            write_song("a.wav", 0.75, 3)
        return encode(self, windows)

    monkeypatch.setattr(WindowEncoder, "__call__", change_after)
    report = embed_files([changing, other], tiny_model, output, **options)
    monkeypatch.undo()
    assert [failure.path for failure in report.failures] == [str(changing)] and rows() == {str(other): 0.5}
    report = embed_files([changing, other], tiny_model, output, resume=True, **options)
    assert not report.failures and rows() == {str(changing): 0.75, str(other): 0.5}


def test_output_that_is_not_finite_is_a_failure_not_a_vector(embed, songs, tiny_model, monkeypatch):
    def broken(self, windows, encode=WindowEncoder.__call__):
        values = encode(self, windows)
        return [v * np.nan if "/1.wav" in w.path and w.start else v for v, w in zip(values, windows, strict=True)]

    monkeypatch.setattr(WindowEncoder, "__call__", broken)
    table, report = embed(songs, window_length_s=1.0)
    assert [(Path(f.path).name, f.reason) for f in report.failures] == [("1.wav", "not finite")]
    assert len(table) == len(songs) - 1


@pytest.mark.slow
def test_after_kill_9_resume_gives_the_table_of_an_unbroken_run(embed, songs, model_folder, tmp_path):
    options = {"batch_size": 2, "window_length_s": 1.0, "chunk_length_s": 2.0}
    code = f"""if True:
        import os, signal
        from muq_hf.inference.embedding import embed_files
        from muq_hf.inference.encoding import WindowEncoder
        encode, count = WindowEncoder.__call__, 0
        def encode_and_die(*arguments):
            global count
            count += 1
            if count == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(*arguments)
        WindowEncoder.__call__ = encode_and_die
        embed_files({[str(path) for path in songs]}, {str(model_folder)!r}, {str(tmp_path / "e.parquet")!r}, **{options})
    """
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(muq_hf.__file__).parents[1], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    partial = tmp_path / "e.parquet.partial"
    assert list(partial.glob("part-*.parquet")) and not (tmp_path / "e.parquet").exists()
    torn = partial / "part-000005.parquet.1.tmp"
    torn.write_bytes(b"a write that the kill cut off")
    unbroken, whole = embed(songs, model=model_folder, output=tmp_path / "u.parquet", **options)
    table, report = embed(songs, model=model_folder, resume=True, **options)
    assert 0 < report.audio_seconds < whole.audio_seconds
    assert table.drop(columns="embedding").equals(unbroken.drop(columns="embedding"))
    np.testing.assert_allclose(matrix(table), matrix(unbroken), atol=1e-4)
    assert not partial.exists()


def test_ctrl_c_keeps_every_song_that_was_done(embed, songs, monkeypatch):
    calls = []

    def interrupted(self, windows, encode=WindowEncoder.__call__):
        calls.append(windows)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return encode(self, windows)

    monkeypatch.setattr(WindowEncoder, "__call__", interrupted)
    options = {"batch_size": 1, "window_length_s": 1.0}
    with pytest.raises(KeyboardInterrupt):
        embed(songs, **options)
    _, report = embed(songs, resume=True, **options)
    assert report.audio_seconds == pytest.approx(sum(SECONDS) - sum(SECONDS[:3])), "0.5, 2.3 and 1.0 s are five windows"


def test_resume_adds_new_files_to_a_finished_table(embed, songs):
    first, _ = embed(songs[:3])
    both, report = embed(songs, resume=True)
    assert report.audio_seconds == pytest.approx(sum(SECONDS[3:]))
    assert both.path.to_list() == [str(path) for path in songs]
    np.testing.assert_array_equal(matrix(both)[:3], matrix(first))


def test_resume_from_another_folder_tells_files_of_one_name_apart(embed, write_song, monkeypatch):
    for index, album in enumerate(("one", "two")):
        monkeypatch.chdir(write_song(f"{album}/song.wav", 2.0, index).parent)
        table, _ = embed(["song.wav"], resume=index > 0)
    assert [Path(path).parent.name for path in table.path] == ["one", "two"]
    again, report = embed([Path(table.path[0])], resume=True)
    assert len(again) == 2 and report.audio_seconds == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"layer": 1}, "layers"),
        ({"pool": "max"}, "pool 'mean' there, 'max' now"),
        ({"chunk_length_s": 1.0}, "chunk_length_s"),
        ({"window_length_s": 20.0}, "window_length_s"),
        ({"stride_length_s": 1.0}, "stride_length_s"),
        ({"dtype": "bfloat16"}, "dtype"),
    ],
)
def test_resume_refuses_other_settings(embed, songs, model_folder, changed, named):
    before, report = embed(songs[:1], model=model_folder)
    with pytest.raises(ValueError, match=f"made with other settings.*{named}"):
        embed(songs, model=model_folder, resume=True, **changed)
    assert pd.read_parquet(report.output).path.equals(before.path)


def test_resume_refuses_other_weights_also_of_an_unfinished_run(embed, songs, model_folder, monkeypatch):
    monkeypatch.setattr(WindowEncoder, "__call__", lambda self, windows: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        embed(songs)
    other = MuQModel.from_pretrained(model_folder)
    next(other.parameters()).data[0] += 1e-3
    with pytest.raises(ValueError, match="partial was made with other settings.*weights"):
        embed(songs, model=other, resume=True)


def test_a_moved_model_can_resume(embed, songs, model_folder, tiny_model):
    embed(songs[:1], model=model_folder)
    table, _ = embed(songs, model=tiny_model, resume=True)
    assert len(table) == len(songs)


def test_an_existing_output_is_not_overwritten_unasked(embed, songs, tmp_path, monkeypatch):
    embed(songs[:1])
    with pytest.raises(ValueError, match="e.parquet exists: --resume .* --overwrite"):
        embed(songs[1:2])
    monkeypatch.setattr(WindowEncoder, "__call__", lambda self, windows: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        embed(songs[1:2], overwrite=True)
    monkeypatch.undo()
    assert pd.read_parquet(tmp_path / "e.parquet").path.to_list() == [str(songs[0])], "replaced only at the end"
    with pytest.raises(ValueError, match="an unfinished run of .* is there"):
        embed(songs[1:2])
    table, _ = embed(songs[1:2], resume=True)
    assert table.path.to_list() == [str(songs[1])], "the resumed run was one that replaces"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "median"}, "mean, std, max, mean\\+std or none"),
        ({"output": "e.csv"}, "ends in .parquet"),
        ({"output": "e.parquet", "pool": "none"}, "must be a folder"),
        ({"output": "frames", "pool": "none", "chunk_length_s": 1.0}, "all frames of a file"),
        ({"output": "frames", "pool": "none", "layer": (1, 2)}, "one layer"),
        ({"layer": 3}, "hidden states 0 .* to 2"),
        ({"layer": ()}, "hidden states 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"dtype": "int8", "model": "folder"}, "float32, bfloat16"),
        ({"device": "cuda:99", "model": "folder"}, "is not available|invalid"),
        ({"resume": True, "overwrite": True}, "choose one"),
        ({"window_length_s": 0.01}, "window and stride length"),
    ],
)
def test_wrong_options_are_refused_by_name(embed, songs, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    if "cuda" in options.get("device", "") and torch.cuda.is_available():
        options["device"] = "tpu"
    with pytest.raises(ValueError, match=message):
        embed(songs, **options)


def test_a_table_of_something_else_is_not_extended(embed, songs, tmp_path):
    pd.DataFrame({"path": ["a"]}).to_parquet(tmp_path / "e.parquet")
    with pytest.raises(ValueError, match="no table of `muq-hf embed`"):
        embed(songs, resume=True)


def window(length: int, path: str = "a") -> FileWindow:
    return FileWindow(path, 0, 0, length, (0, 1), np.zeros(length, np.float32))


def test_batches_hold_neighbours_in_length_and_the_oldest_window():
    lengths = [9, 1, 8, 2, 9, 1, 8, 2]
    batches = list(bucket_by_length(map(window, lengths), lambda: True, 2, lambda end: None))
    assert [[len(w.audio) for w in batch] for batch in batches] == [[9, 9], [1, 1], [8, 8], [2, 2]]


def test_batches_wait_for_one_batch_only_when_decoding_is_slow():
    held = []

    def messages():
        for length in range(10):
            held.append(length)
            yield window(length)

    batches = bucket_by_length(messages(), lambda: False, 2, lambda end: None)
    next(batches)
    assert len(held) == 2
    held.clear()
    next(bucket_by_length(messages(), lambda: True, 2, lambda end: None))
    assert len(held) == 2 * LOOK_AHEAD


def test_ends_of_files_are_told_at_once():
    ends = []
    end = FileEnd("a", 1)
    batches = list(bucket_by_length([window(3), end, window(4)], lambda: True, 8, ends.append))
    assert ends == [end] and len(batches) == 1
