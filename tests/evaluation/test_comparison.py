"""What a comparison refuses, what it says of each clip, and that its scores are those of the distances."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from labelled_clips import SAMPLING_RATE, tone

from muq_hf.evaluation.comparison import Choices, check_comparable, compare_sets
from muq_hf.evaluation.distances import kernel_distance, neighbour_scores
from muq_hf.evaluation.labelled_clips import Clip
from muq_hf.evaluation.music_sets import MusicSet, embed_clips, find_clips, read_table, write_table


CHOICES = Choices(resamples=10)


def a_set(seed: int, number: int = 40, width: int = 6, shift: float = 0.0, **changes) -> MusicSet:
    generator = np.random.default_rng(seed)
    made = MusicSet(
        source=f"set {seed}",
        model="model",
        made_with="weights",
        clips=[Clip(Path(f"{seed}-{n}.wav"), 0.0, 10.0) for n in range(number)],
        seconds=np.full(number, 10.0),
        rates=np.full(number, 44_100.0),
        rows=np.arange(number),
        layers={"layer 1": generator.standard_normal((number, width)) + shift},
        model_rate=24_000,
    )
    return replace(made, **changes)


def test_scores_are_those_of_the_distances():
    generated, reference = a_set(0, shift=0.5), a_set(1)
    (result,) = compare_sets(generated, reference, CHOICES)
    x, y = generated.layers["layer 1"], reference.layers["layer 1"]
    assert result["scores"]["kernel"]["value"] == kernel_distance(x, y)
    assert result["scores"]["coverage"]["value"] == neighbour_scores(x, y)["coverage"]
    kernel = result["scores"]["kernel"]
    assert kernel["low"] < kernel["value"] < kernel["high"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "another"}, "same model"),
        ({"made_with": "other weights"}, "other weights"),
        ({"layers": {"layer 2": np.zeros((40, 6))}}, "different layers"),
        ({"seconds": np.full(40, 30.0)}, "--clip-seconds 10"),
        ({"rates": np.full(40, 16_000.0)}, "lower rate"),
    ],
)
def test_sets_that_differ_in_more_than_the_music_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        check_comparable(a_set(0), a_set(1, **changes))


def test_rates_above_the_models_are_all_the_same_to_it():
    check_comparable(a_set(0, rates=np.full(40, 24_000.0)), a_set(1, rates=np.full(40, 48_000.0)))


def test_a_clip_on_both_sides_is_refused():
    generated, reference = a_set(0), a_set(1)
    reference.layers["layer 1"][7] = generated.layers["layer 1"][3] * (1 + 1e-6)
    with pytest.raises(ValueError, match=r"1 clips are on both sides, the first: 0-3.wav .* is 1-7.wav"):
        check_comparable(generated, reference)


def test_a_score_that_needs_more_rows_says_how_many():
    (result,) = compare_sets(a_set(0, number=12, width=20), a_set(1, number=12, width=20), CHOICES)
    assert result["scores"]["frechet"] == {"refused": "needs 21 rows a side", "needed": 21}
    assert result["scores"]["frechet_limit"]["needed"] == 42
    assert "value" in result["scores"]["kernel"]


def test_outliers_and_near_copies_are_told_clip_by_clip():
    generated, reference = a_set(0, width=8), a_set(1, width=8)
    generated.layers["layer 1"][5] += 100
    generated.layers["layer 1"][9] = 1.02 * reference.layers["layer 1"][4]
    (result,) = compare_sets(generated, reference, CHOICES)
    clips = result["clips"]
    assert min(clips, key=lambda clip: clip["realism"])["path"] == "0-5.wav" and clips[5]["is_outside"]
    assert clips[9]["nearest"]["path"] == "1-4.wav" and clips[9]["is_near_copy"]


def test_without_a_reference_there_is_variety_alone():
    (result,) = compare_sets(a_set(0), None, CHOICES)
    assert set(result["scores"]) == {"vendi"} and result["scores"]["vendi"]["value"] > 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of 3.5, 2 and 0.4 s, and one that is no audio."""
    folder, generator = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    for number, seconds in enumerate((3.5, 2.0, 0.4)):
        soundfile.write(folder / f"{number}.wav", tone(300 * (number + 1), generator, seconds), SAMPLING_RATE)
    (folder / "broken.wav").write_text("no audio")
    return folder


def test_files_are_cut_into_clips_and_what_cannot_be_used_is_listed(folder):
    clips, failures = find_clips(folder, 1.0)
    assert [(clip.path.name, clip.start, clip.end) for clip in clips] == [
        ("0.wav", 0, 1), ("0.wav", 1, 2), ("0.wav", 2, 3), ("1.wav", 0, 1), ("1.wav", 1, 2),
    ]  # fmt: skip
    assert len(failures) == 2 and any("broken.wav" in text for text in failures) and any("2.wav" in text for text in failures)


def test_a_manifest_names_stretches(folder, tmp_path):
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text(f'{{"path": "{folder}/0.wav", "start": 1, "end": 3}}\n{{"path": "{folder}/1.wav"}}\n')
    clips, _ = find_clips(manifest, None)
    assert [(clip.start, clip.end) for clip in clips] == [(1, 3), (0, 2)]


@pytest.mark.parametrize("row_seconds", [None, 0.5])
def test_a_saved_set_is_read_as_it_was(folder, mel, tmp_path, row_seconds):
    clips, _ = find_clips(folder, 1.0)
    made = embed_clips("music", clips, mel, [-1], tmp_path / "cache", row_seconds, progress=False)
    assert len(made.layers["mel"]) == (5 if row_seconds is None else 10)
    read = read_table(write_table(made, tmp_path / "set.parquet", "mel", {"row_seconds": row_seconds}))
    assert (read.model, read.made_with, read.model_rate) == (made.model, made.made_with, made.model_rate)
    assert [(clip.path, clip.start, clip.end) for clip in read.clips] == [(clip.path, clip.start, clip.end) for clip in clips]
    for name in ("seconds", "rates", "rows"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    np.testing.assert_array_equal(read.layers["mel"], made.layers["mel"])


def test_rows_of_seconds_are_means_of_frames(folder, mel, tmp_path):
    clips, _ = find_clips(folder, 2.0)
    made = embed_clips("music", clips[:1], mel, [-1], tmp_path, 1.0, progress=False)
    from muq_hf.audio import load_audio

    (frames,) = mel.frames(load_audio(clips[0].path, SAMPLING_RATE, end=2.0)[None])
    np.testing.assert_allclose(made.layers["mel"], frames[0].reshape(2, 25, -1).mean(axis=1), rtol=2e-3, atol=2e-2)
