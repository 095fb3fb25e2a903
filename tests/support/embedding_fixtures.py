"""A tiny model with statistics of its own, and synthetic songs."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from muq_hf import MuQConfig, MuQModel


RATE = 24_000


def song(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """Noise under a slow swell, with a tone: no two stretches of it are alike. float32 [S]."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * (0.3 + 0.1 * seed) * time)
    tone = np.sin(2 * np.pi * (220 + 40 * seed) * time * (1 + 0.05 * time))
    return (0.3 * swell * tone + 0.05 * generator.standard_normal(len(time))).astype(np.float32)


@pytest.fixture
def write_song(tmp_path):
    """write_song(name, seconds, seed) → path of a WAV file of float samples (so that reading is exact)."""

    def write(name: str, seconds: float, seed: int = 0, rate: int = RATE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, song(seconds, seed, rate), rate, subtype="FLOAT", format="WAV")
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model() -> MuQModel:
    """Two layers of size 32, with batch-norm statistics that padding would disturb."""
    sizes = {"conv_channels": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MuQModel(MuQConfig.from_preset("tiny", **sizes)).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model


@pytest.fixture(scope="session")
def model_folder(tiny_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.save_pretrained(folder)
    return folder
