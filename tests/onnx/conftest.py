"""Tiny models, exported once: tracing takes seconds, whatever the size."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from checks import MICRO, perturb_statistics
from mulan_models import tiny_model, tiny_processor

from muq_hf import MuQConfig, MuQModel
from muq_hf.onnx.check import Row
from muq_hf.onnx.onnx_files import export_onnx


ONE_LAYER = MICRO | {"num_hidden_layers": 1}
CLIP_SECONDS = 1.0  # of the tiny MuQ-MuLan


class Exported(NamedTuple):
    source: Path
    folder: Path
    rows: list[Row]
    model: torch.nn.Module

    def run(self, file: str, **feeds) -> list[torch.Tensor]:
        session = onnxruntime.InferenceSession(self.folder / file, providers=["CPUExecutionProvider"])
        results = session.run(None, {name: np.asarray(value) for name, value in feeds.items()})
        return [torch.from_numpy(result) for result in results]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Exported:
    """A MuQ in all precisions, with the hidden states 0 and 1."""
    source = tmp_path_factory.mktemp("encoder") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MuQModel(MuQConfig(**ONE_LAYER)).eval()
    perturb_statistics(model)
    model.save_pretrained(source)
    folder = source.with_name("exported")
    rows = export_onnx(source, folder, ["float32", "float16", "int8"], layers=[0, 1], licence="mit", seconds=(1,))
    return Exported(source, folder, rows, model)


@pytest.fixture(scope="session")
def mulan(tmp_path_factory) -> Exported:
    """Both towers of a MuQ-MuLan that hears one second at a time, split at the mel."""
    source = tmp_path_factory.mktemp("mulan") / "model"
    model = tiny_model(clip_seconds=CLIP_SECONDS)
    model.save_pretrained(source)
    tiny_processor().save_pretrained(source)
    folder = source.with_name("exported")
    rows = export_onnx(source, folder, split_at_mel=True, seconds=(0.5, 2.5))
    return Exported(source, folder, rows, model)
