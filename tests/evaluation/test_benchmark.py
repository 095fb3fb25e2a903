"""Frame tasks: a model without a time axis is left out, everything else that is wrong ends the run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from muq_hf.evaluation.benchmark import evaluate
from muq_hf.evaluation.encoders import Encoder
from muq_hf.evaluation.label_kinds import own_task
from muq_hf.evaluation.labelled_clips import Clip, read_manifest
from muq_hf.evaluation.models import load_encoder
from muq_hf.evaluation.report import markdown_table
from muq_hf.evaluation.trial import Settings


def test_a_model_without_time_axis_is_left_out_of_frame_tasks(clicks, mel, tmp_path):
    task, told = own_task("beat", read_manifest(clicks), "beats", "events"), []
    settings = Settings(tmp_path, seeds=1, probes=("linear",), progress=False)
    rows = evaluate([(load_encoder("cues"), None), (mel, None)], [task], settings, told.append)
    assert [row["model"] for row in rows] == ["majority", "mel"]
    assert told[0] == "beat: cues has no time axis: it is left out of frame tasks."


def test_a_frame_task_without_its_files_is_refused(mel, tmp_path):
    clips = [Clip(Path(f"{split}.wav"), split=split, labels={"beats": {"events": [0.5]}}) for split in ("train", "valid", "test")]
    with pytest.raises(ValueError, match="3 of 3 clips cannot be read"):
        evaluate([(mel, None)], [own_task("beat", clips, "beats", "events")], Settings(tmp_path, progress=False))


class Choosy(Encoder):
    """A spectrum, for which some clips are too short."""

    name, fingerprint, sampling_rate, layer_names = "choosy", "choosy", 24_000, ("spectrum",)
    min_samples = 12_000

    def states(self, waves):
        return [torch.from_numpy(np.abs(np.fft.rfft(waves[:, None, :1920])).astype(np.float32))]


def one_short(clips):
    """The clips with one of the test split cut to 0.2 s."""
    short = next(clip for clip in clips if clip.split == "test")
    return [replace(clip, end=clip.start + 0.2) if clip is short else clip for clip in clips]


def test_clips_that_a_model_cannot_take_are_told_and_kept_in_its_row(tones, mel, tmp_path):
    task, told = own_task("tone", one_short(read_manifest(tones)), "class", "class"), []
    settings = Settings(tmp_path, seeds=1, probes=("linear",), progress=False, workers=1)
    rows = evaluate([(mel, None), (Choosy(), None)], [task], settings, told.append)
    (failure,) = rows[2]["failures"]
    assert "4800 samples are too few" in failure and rows[1]["failures"] == []
    assert any(line == f"tone: choosy goes without 1 clips that cannot be read, the first: {failure}" for line in told)
    assert told[-1] == "tone: not all are scored on the same test clips, but on 11 to 12."


def test_a_split_that_is_lost_with_its_clips_is_named(tones, tmp_path):
    """Of 37 clips one may be missing, not the only one of the test split."""
    clips = read_manifest(tones)
    clips = [clip for clip in clips if clip.split == "train"] + [next(clip for clip in clips if clip.split == "valid")]
    clips = one_short([*clips, replace(clips[0], split="test", group="test")])
    with pytest.raises(ValueError, match="its test split has no clip"):
        evaluate([(Choosy(), None)], [own_task("tone", clips, "class", "class")], Settings(tmp_path, progress=False))


def test_recording_cues_above_chance_are_told_and_marked(tmp_path):
    """They hear how loud noise is."""
    generator, clips, told = np.random.default_rng(0), [], []
    for n, split in enumerate(["train"] * 8 + ["valid"] * 4 + ["test"] * 4):
        soundfile.write(tmp_path / f"{n}.wav", (0.01, 0.2)[n % 2] * generator.standard_normal(2400), 24_000)
        clips.append(Clip(tmp_path / f"{n}.wav", split=split, group=str(n), labels={"level": ("low", "high")[n % 2]}))
    settings = Settings(tmp_path / "cache", seeds=1, probes=("linear",), check=True, progress=False, workers=1)
    task = own_task("level", clips, "level", "class")
    rows = evaluate([(load_encoder("cues"), None)], [task], settings, told.append)
    assert any(line.startswith("level: cues, linear: above the chance of 0.5") for line in told)
    assert "| cues | linear | 100.0 above chance |" in markdown_table(rows)
