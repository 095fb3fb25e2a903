"""What the tokens keep of the music: the log-mel, and the log-mel from the first 1, 4 and 8 codebooks."""

from pathlib import Path

import numpy as np
import torch

from ..loader import load, model_type, read_config, without_weight_bars
from ..models.configuration_muq import MelRVQConfig, MuQConfig
from ..models.mel_rvq_muq import MelRVQModel
from ..models.modeling_muq import MuQForPreTraining
from ..storage.figures import new_figure, save_figure


SHOWN_CODEBOOKS = (1, 4, 8)
QUANTIZER_FIELDS = ("num_codebooks", "codebook_size", "codebook_dim", "projection_depth")


def load_tokenizer(model: str, revision: str | None = None) -> MelRVQModel:
    """The Mel-RVQ in a folder or Hub id, its own or inside a MuQ. Raises ValueError for a model without one."""
    if model_type(read_config(model, revision)) != MuQConfig.model_type:
        return load(model, revision=revision).model
    with without_weight_bars():
        muq = MuQForPreTraining.from_pretrained(model, **({} if revision is None else {"revision": revision}))
    if muq.config.quantizer_type != "residual":
        raise ValueError(f"the tokens of {model} are of the type {muq.config.quantizer_type!r}: only a Mel-RVQ gives music back.")
    fields = {name: getattr(muq.config, name) for name in QUANTIZER_FIELDS}
    tokenizer = MelRVQModel(MelRVQConfig(**muq.config.spectrogram_settings, **fields))
    tokenizer.quantizer.load_state_dict(muq.quantizer.state_dict())
    return tokenizer.eval()


@torch.no_grad()
def reconstructions(model, waveform: torch.Tensor) -> dict[str, np.ndarray]:
    """MelRVQModel, waveform [S] → "codes" [N, K]; "mel" [M, 4·N], and "mel_K" from the first K codebooks, all in decibels."""
    codes = model.encode(waveform.unsqueeze(0))
    tokens = codes.shape[1]
    mel_std, mel_mean = model.config.mel_std, model.config.mel_mean
    found = {"codes": codes[0].cpu().numpy()}
    pictures = {"mel": model.spectrogram(waveform.unsqueeze(0))[0, :, : 4 * tokens]}
    shown = [k for k in SHOWN_CODEBOOKS if k <= codes.shape[2]] or [codes.shape[2]]
    pictures |= {f"mel_{k}": model.decode(codes[..., :k])[0] for k in shown}
    return found | {name: (mel * mel_std + mel_mean).float().cpu().numpy() for name, mel in pictures.items()}


def plot_reconstructions(model, waveform: torch.Tensor, path: Path) -> dict[str, np.ndarray]:
    """The pictures of `reconstructions` side by side, as a PNG → the arrays."""
    found = reconstructions(model, waveform)
    pictures = {name: picture for name, picture in found.items() if name != "codes"}
    mel = found["mel"]
    seconds = mel.shape[1] * model.config.hop_length / model.config.sampling_rate
    figure = new_figure(3.2 * len(pictures), 3.2)
    for axes, (name, picture) in zip(figure.subplots(1, len(pictures), sharey=True), pictures.items(), strict=True):
        number = name.removeprefix("mel_")
        title = (
            "input" if name == "mel" else f"{number} codebook{'s' * (number != '1')}: {np.abs(picture - mel).mean():.2f} dB off"
        )
        extent = (0, seconds, 0, len(mel))
        shown = axes.imshow(picture, origin="lower", aspect="auto", vmin=mel.min(), vmax=mel.max(), extent=extent)
        axes.set(title=title, xlabel="s")
    figure.axes[0].set_ylabel("mel band")
    figure.colorbar(shown, ax=figure.axes, pad=0.01, label="dB")
    save_figure(figure, path)
    return found
