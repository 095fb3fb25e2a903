"""Frame tasks: a model without a time axis is left out, everything else that is wrong ends the run."""

from pathlib import Path

import pytest

from muq_hf.evaluation.benchmark import Question, Settings, evaluate
from muq_hf.evaluation.encoders import load_encoder
from muq_hf.evaluation.manifests import Clip, read_manifest


def test_a_model_without_time_axis_is_left_out_of_frame_tasks(clicks, mel, tmp_path):
    question, told = Question.of("beat", read_manifest(clicks), "beats", "events"), []
    settings = Settings(tmp_path, seeds=1, probes=("linear",), progress=False)
    rows = evaluate([(load_encoder("cues"), None), (mel, None)], [question], settings, told.append)
    assert [row["model"] for row in rows] == ["majority", "mel"]
    assert told[0].startswith("beat: recording cues are one per clip")


def test_a_frame_task_without_its_files_is_refused(mel, tmp_path):
    clips = [Clip(Path(f"{split}.wav"), split=split, labels={"beats": {"events": [0.5]}}) for split in ("train", "valid", "test")]
    with pytest.raises(ValueError, match="3 of 3 clips cannot be read"):
        evaluate([(mel, None)], [Question.of("beat", clips, "beats", "events")], Settings(tmp_path, progress=False))
