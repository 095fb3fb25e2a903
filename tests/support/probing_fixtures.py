from pathlib import Path

import pytest
from labelled_clips import write_clicks, write_tones

from muq_hf.evaluation import heads
from muq_hf.evaluation.features import extract
from muq_hf.evaluation.labelled_clips import read_manifest
from muq_hf.evaluation.models import load_encoder


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    """Tones are learned at once; the patience that music needs would only take time."""
    monkeypatch.setattr(heads, "MAX_VALIDATIONS", 8)
    monkeypatch.setattr(heads, "PATIENCE", 2)


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def clicks(tmp_path_factory) -> Path:
    return write_clicks(tmp_path_factory.mktemp("clicks"))


@pytest.fixture(scope="session")
def mel():
    return load_encoder("mel")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def tone_features(tones, mel, cache):
    return extract(mel, read_manifest(tones), cache, progress=False)


@pytest.fixture(scope="session")
def click_frames(clicks, mel, cache):
    return extract(mel, read_manifest(clicks), cache, per_frame=True, progress=False)
