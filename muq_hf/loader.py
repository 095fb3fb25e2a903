"""One way to load a model of the family: a folder, Hub id or short name → the class that it needs, with its processor."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from .checkpoints import resolve_name
from .devices import DTYPES, resolve_device
from .models.classification_muq import MuQForAudioFrameClassification, MuQForSequenceClassification
from .models.configuration_muq import MelRVQConfig, MuQConfig, is_muq_config
from .models.configuration_muq_mulan import MuQMuLanConfig, is_mulan_config
from .models.feature_extraction_muq import MuQFeatureExtractor
from .models.feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from .models.mel_rvq_muq import MelRVQModel
from .models.modeling_muq import MuQModel
from .models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection, MuQMuLanModel, MuQMuLanTextModelWithProjection
from .models.processing_muq_mulan import MuQMuLanProcessor


Part = Literal["all", "audio", "text", "encoder"]
CLASSIFIERS = {kind.__name__: kind for kind in (MuQForSequenceClassification, MuQForAudioFrameClassification)}
CLASSES = {  # (model type, part): (model, processor)
    ("muq", "all"): (MuQModel, MuQFeatureExtractor),
    ("muq", "audio"): (MuQModel, MuQFeatureExtractor),
    ("muq", "encoder"): (MuQModel, MuQFeatureExtractor),
    ("mel_rvq", "all"): (MelRVQModel, MuQFeatureExtractor),
    ("muq_mulan", "all"): (MuQMuLanModel, MuQMuLanProcessor),
    ("muq_mulan", "audio"): (MuQMuLanAudioModelWithProjection, MuQMuLanFeatureExtractor),
    ("muq_mulan", "text"): (MuQMuLanTextModelWithProjection, MuQMuLanProcessor),
    ("muq_mulan", "encoder"): (MuQMuLanAudioModelWithProjection, MuQFeatureExtractor),
}


class Loaded(NamedTuple):
    """processor: the feature extractor of a MuQ or Mel-RVQ, the processor of a MuQ-MuLan, of its music tower the extractor."""

    model: PreTrainedModel
    processor: Any


def load(
    source: str | os.PathLike,
    part: Part = "all",
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | torch.dtype = "float32",
) -> Loaded:
    """Load a MuQ, MuQ-MuLan or Mel-RVQ for inference, whatever it was saved as → (model, processor).

        model, extractor = muq_hf.load("muq-tiny")

    Args:
        source: folder or Hub id, in this package's format or the published one, or "muq-tiny" or "muq-mulan-tiny".
        part: "all": the whole model, a classifier with its head; "audio" and "text": one tower of a MuQ-MuLan with its
            projection; "encoder": the MuQ alone, also of a MuQ-MuLan.
        revision: branch, tag or commit on the Hub.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; None leaves the model on the CPU.
        dtype: of the weights, a torch type or its name.

    Raises OSError, with the source's name, for a model that cannot be had; ValueError for models of other families, for parts
    that the model does not have, and for devices and types that are not there.
    """
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    place = None if device is None else resolve_device(device)
    source = resolve_name(source)
    config = read_config(source, revision)
    kind = model_type(config)
    if (kind, part) not in CLASSES:
        parts = [name for known, name in CLASSES if known == kind]
        if parts:
            raise ValueError(f"{source} is of type {kind!r}, which has no part {part!r}; valid: {', '.join(parts)}.")
        known = ", ".join(dict.fromkeys(name for name, _ in CLASSES))
        raise ValueError(f"{source} is a model of type {kind!r}; those that can be loaded: {known}.")
    model_class, processor_class = CLASSES[kind, part]
    if kind == "muq" and part == "all":
        model_class = CLASSIFIERS.get((config.get("architectures") or [None])[0], model_class)
    arguments = {} if revision is None else {"revision": revision}
    with without_weight_bars():
        model = model_class.from_pretrained(source, dtype=DTYPES.get(dtype, dtype), **arguments)
    processor = _processor(processor_class, model, source, arguments)
    if (kind, part) == ("muq_mulan", "encoder"):
        model = model.audio_model.encoder
    return Loaded((model if place is None else model.to(place)).eval(), processor)


def read_config(source: str | os.PathLike, revision: str | None = None) -> dict:
    """The `config.json` of a folder or Hub id. Raises OSError that names the source if it cannot be had."""
    source = resolve_name(source)
    try:
        config, _ = PreTrainedConfig.get_config_dict(source, **({} if revision is None else {"revision": revision}))
    except OSError as error:
        if os.path.isdir(source):
            raise OSError(f"the model in the folder {source} cannot be read: {_first_line(error)}") from error
        at = "" if revision is None else f" at revision {revision!r}"
        raise OSError(f"{source}{at} is no folder here and cannot be had from the Hub: {_first_line(error)}") from error
    if not config:
        raise OSError(f"the folder {source} holds no model: it has no config.json.")
    return config


def model_type(config: dict) -> str | None:
    """ "muq", "muq_mulan" or "mel_rvq", for the published formats too; of other models what their `config.json` says."""
    if is_mulan_config(config):
        return MuQMuLanConfig.model_type
    if config.get("model_type") == MelRVQConfig.model_type:
        return MelRVQConfig.model_type
    return MuQConfig.model_type if is_muq_config(config) else config.get("model_type")


@contextlib.contextmanager
def without_weight_bars() -> Iterator[None]:
    """No progress bar for reading weights from the disk, which takes a second; downloads keep theirs."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    if not logging.is_progress_bar_enabled():
        yield
        return
    shows_downloads = not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if shows_downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _processor(processor_class, model: PreTrainedModel, source: str, arguments: dict):
    """The saved one; the published format has none for music alone, and it follows from the configuration."""
    if processor_class is MuQMuLanProcessor:
        return processor_class.from_pretrained(source, **arguments)
    config = model.config
    if processor_class is MuQFeatureExtractor:
        config = getattr(config, "audio_config", config)
    return processor_class.for_config(config)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
