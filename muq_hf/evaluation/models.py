"""A name → the encoder that it stands for: folders, Hub ids, baselines, random weights, adapters."""

import torch
from transformers import AutoFeatureExtractor, AutoModel

from ..checkpoints import resolve_name, short_name
from ..loader import load, model_type, read_config, without_weight_bars
from ..models.configuration_muq import PRESETS, MuQConfig
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.modeling_muq import MuQModel
from ..storage.adapters import is_adapter, load_class
from .baselines import BASELINES
from .encoders import Encoder, MuQEncoder, TransformersEncoder


RANDOM = "random:"


def load_encoder(spec: str, device: str = "cpu", trust_remote_code: bool = False) -> Encoder:
    """`spec` is a Hub id or folder, "mel", "chroma", "cues", "random:PRESET" or "random:FOLDER", or "FILE.py:CLASS".

    Raises ValueError for a spec that is none of these, OSError for a model that is not there.
    """
    if spec in BASELINES:
        return BASELINES[spec]()
    if spec.startswith(RANDOM):
        return random_muq(spec.removeprefix(RANDOM), device)
    if is_adapter(spec):
        return load_class(spec)()
    if model_type(read_config(spec)) in (MuQConfig.model_type, MuQMuLanConfig.model_type):
        return MuQEncoder(load(spec, "encoder", device=device).model, short_name(resolve_name(spec)))
    with without_weight_bars():
        model = AutoModel.from_pretrained(spec, dtype=torch.float32, trust_remote_code=trust_remote_code)
    extractor = AutoFeatureExtractor.from_pretrained(spec, trust_remote_code=trust_remote_code)
    return TransformersEncoder(model.to(device), extractor, spec)


def is_checkpoint(spec: str) -> bool:
    """Whether a spec of `load_encoder` is a Hub id or folder, which may say what it was trained on."""
    return spec not in BASELINES and not spec.startswith(RANDOM) and not is_adapter(spec)


def random_muq(source: str, device: str = "cpu", seed: int = 0) -> MuQEncoder:
    """A MuQ with random weights: of a preset, or of the configuration in a folder."""
    config = MuQConfig.from_preset(source) if source in PRESETS else MuQConfig.from_pretrained(resolve_name(source))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = MuQModel(config)
    return MuQEncoder(model.to(device), f"{RANDOM}{short_name(source)}")
