"""The model of a run, and the settings that decide its rows."""

import os
from collections.abc import Sequence
from dataclasses import replace

from ..checkpoints import resolve_name, short_name
from ..loader import load
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.layers_muq import hidden_state_indices
from ..models.modeling_muq import MuQModel
from ..models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection
from ..storage.fingerprint import weights_hash
from ..version import __version__
from .embed_settings import EmbedSettings
from .encoding import WindowEncoder
from .joint import JOINT_LAYERS, JOINT_POOL, JointEncoder, check_joint_options
from .segments import WindowPlan


WINDOW_LENGTH_S = 30.0
EmbeddingModel = MuQModel | MuQMuLanAudioModelWithProjection


def load_embedding_model(
    model: str | os.PathLike | EmbeddingModel, revision: str | None, device: str, dtype: str
) -> tuple[str, EmbeddingModel]:
    """→ the name to record, and the model ready to run; one that is loaded stays where it is."""
    if isinstance(model, (MuQModel, MuQMuLanAudioModelWithProjection)):
        return model.name_or_path or type(model).__name__, model.eval()
    if not isinstance(model, str | os.PathLike):
        kinds = f"{MuQModel.__name__} or {MuQMuLanAudioModelWithProjection.__name__}"
        raise TypeError(f"`model` must be a folder, a Hub id or a loaded {kinds}, got a {type(model).__name__}.")
    loaded, _ = load(model, "audio", revision=revision, device=device, dtype=dtype)
    return short_name(resolve_name(model)), loaded


def is_joint(model: EmbeddingModel) -> bool:
    """Whether its vectors are those of a joint space of music and words."""
    return model.config.model_type == MuQMuLanConfig.model_type


def encoder_config(model: EmbeddingModel):
    """The configuration of the music encoder, with its rates and sizes."""
    return model.config.audio_config if is_joint(model) else model.config


def settings_of(
    name: str,
    model: EmbeddingModel,
    layers: Sequence[int],
    pool: str,
    chunk_length_s: float | None,
    window_length_s: float | None,
    stride_length_s: float,
) -> EmbedSettings:
    """Raises ValueError for options that the model does not have."""
    if window_length_s is None:
        window_length_s = model.config.clip_seconds if is_joint(model) else WINDOW_LENGTH_S
    if is_joint(model):
        check_joint_options(model.config, list(layers), pool, window_length_s, stride_length_s)
        layers, pool = JOINT_LAYERS, JOINT_POOL
    else:
        layers = tuple(sorted(set(hidden_state_indices(list(layers), model.config.num_hidden_layers))))
    weights = weights_hash(model)
    return EmbedSettings(
        model=name,
        revision=getattr(model.config, "_commit_hash", None) or f"sha256:{weights[:12]}",
        weights=weights,
        dtype=str(model.dtype).removeprefix("torch."),
        layers=layers,
        pool=pool,
        chunk_length_s=chunk_length_s,
        window_length_s=window_length_s,
        stride_length_s=stride_length_s,
        version=__version__,
    )


def require_model(settings: EmbedSettings, model: EmbeddingModel, where: str) -> None:
    """Raises ValueError that names the difference, if the model is not the one of these settings."""
    now = replace(settings, weights=weights_hash(model), dtype=str(model.dtype).removeprefix("torch."), version=__version__)
    now.require_same(settings, where)


def encoder_of(model: EmbeddingModel, settings: EmbedSettings) -> WindowEncoder | JointEncoder:
    return JointEncoder(model) if is_joint(model) else WindowEncoder(model, settings.layers, settings.pool)


def window_plan(model: EmbeddingModel, settings: EmbedSettings) -> WindowPlan:
    lengths = settings.chunk_length_s, settings.window_length_s, settings.stride_length_s
    return WindowPlan.from_seconds(encoder_config(model), *lengths)
