"""An exported classifier answers `pipeline("audio-classification")` where this package is not installed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from checks import MICRO, perturb_statistics

from muq_hf import MuQAudioClassificationPipeline, MuQConfig, MuQFeatureExtractor, MuQForSequenceClassification
from muq_hf.hub.hub_folder import export_hub


STRANGER = """
import json, sys
sys.modules["muq_hf"] = None
from transformers import pipeline
print(json.dumps(pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True, device="cpu")(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_stranger_gets_the_same_labels(tmp_path):
    config = MuQConfig(**MICRO, id2label={0: "folk", 1: "metal"}, classifier_pool="attention", classifier_clip_seconds=1.0)
    model = MuQForSequenceClassification(config).eval()
    perturb_statistics(model)
    model.save_pretrained(tmp_path / "model")
    MuQFeatureExtractor().save_pretrained(tmp_path / "model")
    export_hub(tmp_path / "model", tmp_path / "hub", licence="mit")
    assert "pipeline_tag: audio-classification" in (tmp_path / "hub" / "README.md").read_text()
    song = tmp_path / "song.wav"
    soundfile.write(song, 0.1 * np.random.default_rng(0).standard_normal((120_000, 2)), 48_000)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-W", "ignore", "-c", STRANGER, str(tmp_path / "hub"), str(song)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = {row["label"]: row["score"] for row in json.loads(run.stdout.splitlines()[-1])}
    ours = {row["label"]: row["score"] for row in MuQAudioClassificationPipeline(model, device="cpu")(str(song))}
    assert found == pytest.approx(ours, abs=1e-5)
