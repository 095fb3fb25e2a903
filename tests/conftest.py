"""Tiny seeded models and the stored references of the published package. No test touches the network."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of huggingface_hub

from pathlib import Path

import pytest
import torch
from checks import ASSETS, MICRO, perturb_statistics
from safetensors.torch import load_file

from muq_hf import MuQConfig, MuQFeatureExtractor, MuQForPreTraining, MuQModel


torch.set_num_threads(1)  # tiny models: more threads only wait for each other


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def published_folder() -> Path:
    """A small checkpoint exactly as the published package saves it."""
    return ASSETS / "published_tiny"


@pytest.fixture(scope="session")
def goldens() -> dict[str, torch.Tensor]:
    return load_file(ASSETS / "goldens.safetensors")


@pytest.fixture
def micro_config() -> MuQConfig:
    return MuQConfig(**MICRO)


@pytest.fixture
def micro_model(micro_config) -> MuQModel:
    model = MuQModel(micro_config).eval()
    perturb_statistics(model)
    return model


@pytest.fixture
def micro_folder(micro_config, tmp_path) -> Path:
    """A saved model with feature extractor."""
    model = MuQForPreTraining(micro_config)
    perturb_statistics(model)
    folder = tmp_path / "micro"
    model.save_pretrained(folder)
    MuQFeatureExtractor().save_pretrained(folder)
    return folder
