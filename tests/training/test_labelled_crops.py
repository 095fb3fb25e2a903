"""Crops of labelled clips: the same for the same number, with the labels of their own frames, mixed as told."""

import numpy as np
import pytest
import torch

from muq_hf.evaluation.labelled_clips import Clip, read_manifest
from muq_hf.training.classifier_task import ClassifierTask
from muq_hf.training.clips import SkipLog
from muq_hf.training.labelled_crops import Augmentation, ClipReader, ClipWindows, CropCollator, LabelledCrops


FRAME = 960  # samples
NO_AUGMENTATION = Augmentation()


@pytest.fixture
def reader():
    return ClipReader(24_000, 1025)


def crops(clips, rows, per_frame, reader, tmp_path, seconds=1.0, augmentation=NO_AUGMENTATION):
    return LabelledCrops(clips, rows, per_frame, reader, FRAME, seconds, 0, augmentation, SkipLog(tmp_path / "skipped.jsonl"))


def test_a_crop_depends_on_seed_and_number_alone(clicks, reader, tmp_path):
    clips = read_manifest(clicks)
    augmentation = Augmentation(gain_db=6, noise_db=10)
    first, second = (crops(clips, [np.array(0)] * 15, False, reader, tmp_path, augmentation=augmentation) for _ in range(2))
    later = {number: second[number] for number in (20, 3, 7)}
    for number in (3, 7, 20):
        assert torch.equal(first[number]["input_values"], later[number]["input_values"])
    assert not torch.equal(first[5]["input_values"], first[20]["input_values"])  # the same clip, another crop


def test_labels_of_frames_are_those_of_the_crop(clicks, reader, tmp_path):
    """Two chords, the one below 500 Hz and the other above: what is heard is what the label says."""
    task = ClassifierTask.from_manifest(clicks, label="chords", kind="chord")
    clips = task.clips["train"]
    data = crops(clips, task.rows(clips, [100] * len(clips)), True, reader, tmp_path, seconds=1.0)
    for number in range(12):
        item = data[number]
        assert item["labels"].shape == (25,) and len(item["input_values"]) == 25 * FRAME
        frames = item["input_values"].view(25, FRAME)
        crossings = (frames[:, 1:] * frames[:, :-1] < 0).sum(dim=1)
        is_low = item["labels"] == task.names.index("A:min")
        if is_low.any() and not is_low.all():
            assert crossings[is_low].float().median() < crossings[~is_low].float().median()


def test_noise_and_gain_are_as_loud_as_told():
    wave = np.sin(np.arange(24_000, dtype=np.float32))
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        noise = Augmentation(noise_db=10)(wave, random) - wave
        ratios.append(10 * np.log10(np.mean(wave**2) / np.mean(noise**2)))
    assert min(ratios) == pytest.approx(10, abs=1) and max(ratios) == pytest.approx(50, abs=1)
    gains = [20 * np.log10(np.abs(Augmentation(gain_db=6)(wave, random)).max()) for _ in range(200)]
    assert min(gains) == pytest.approx(-6, abs=0.3) and max(gains) == pytest.approx(6, abs=0.3)


def test_mixed_clips_have_mixed_labels():
    items = [
        {"input_values": torch.full((100,), float(index)), "labels": torch.tensor(index), "number": torch.tensor(7 + index)}
        for index in range(4)
    ]
    batch = CropCollator(0.5, seed=0, num_classes=4)(items)
    assert torch.allclose(batch["labels"].sum(dim=1), torch.ones(4))
    # Each wave is the number of its class, so the mixed wave is the mean class under the mixed label.
    torch.testing.assert_close(batch["labels"] @ torch.arange(4.0), batch["input_values"][:, 0])
    again = CropCollator(0.5, seed=0, num_classes=4)(items)
    assert torch.equal(batch["labels"], again["labels"])


def test_windows_cover_a_clip_once(clicks, reader):
    clip = Clip(read_manifest(clicks)[0].path)
    windows = ClipWindows([clip], reader, FRAME, 1.5)
    places = [item["place"].tolist() for item in windows]
    assert [place[3] for place in places] == [
        36_000 // FRAME * FRAME,
        36_000 // FRAME * FRAME,
        96_000 - 2 * (36_000 // FRAME * FRAME),
    ]
    assert sum(last - first for _, first, last, _ in places) == 100  # frames of 4 s


def test_a_broken_clip_is_replaced_and_told(clicks, reader, tmp_path):
    clips = [Clip(tmp_path / "missing.wav"), read_manifest(clicks)[0]]
    data = crops(clips, [np.array(0), np.array(1)], False, reader, tmp_path)
    assert data[0]["labels"] == 1
    assert [item.name for item in data.skip_log.read()] == [str(tmp_path / "missing.wav")]


def test_class_weights_make_classes_count_alike(tones):
    task = ClassifierTask.from_manifest(tones, label="class")
    rows = [np.array(0)] * 8 + [np.array(1)] * 2 + [np.array(2)] * 2
    weights = task.class_weights(rows)
    counts = torch.tensor([8.0, 2.0, 2.0])
    torch.testing.assert_close(weights * counts, torch.full((3,), 4.0))


def test_numbers_are_learned_at_mean_0_and_deviation_1(tones):
    task = ClassifierTask.from_manifest(tones, label="hertz")
    rows = np.stack(task.rows(task.clips["train"], [1] * len(task.clips["train"])))
    assert rows.mean() == pytest.approx(0, abs=1e-6) and rows.std() == pytest.approx(1, rel=1e-5)
    clips = task.clips["test"]
    exact = np.stack(task.rows(clips, [1] * len(clips)))
    assert task.score(clips, None, exact)["r2"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("choices", "said"), [({}, "choose one"), ({"label": "class", "kind": "colour"}, "unknown kind"), ({"label": "mood"}, "mood")]
)
def test_tasks_that_are_none_are_refused(tones, choices, said):
    with pytest.raises(ValueError, match=said):
        ClassifierTask.from_manifest(tones, **choices)
