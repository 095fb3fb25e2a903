"""Where the goldens lie and how they are written."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file


ASSETS = Path(__file__).resolve().parent.parent / "assets"


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)


def save_published(model, folder: Path) -> None:
    """muq's own `save_pretrained`, without the model card it adds."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)


def to_int16(wave: torch.Tensor) -> torch.Tensor:
    """Exact for `music_like`: divide by 32768 to get the waveform back."""
    return (wave * 32768).to(torch.int16)
