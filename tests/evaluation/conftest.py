from pathlib import Path

import pytest
from labelled_clips import write_clicks, write_tones

from muq_hf.evaluation.encoders import load_encoder
from muq_hf.evaluation.features import extract
from muq_hf.evaluation.manifests import read_manifest


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
