"""A name → the encoder that it stands for: folders, Hub ids, baselines, random weights, adapters."""

import torch
from transformers import AutoFeatureExtractor, AutoModel, PreTrainedConfig

from ..checkpoints import short_name
from ..models.configuration_muq import PRESETS, MuQConfig, is_muq_config
from ..models.configuration_muq_mulan import is_mulan_config
from ..models.modeling_muq import MuQModel
from ..models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection
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
    config, _ = PreTrainedConfig.get_config_dict(spec)
    if is_muq_config(config):
        return MuQEncoder(MuQModel.from_pretrained(spec, dtype=torch.float32).to(device), short_name(spec))
    if is_mulan_config(config):
        tower = MuQMuLanAudioModelWithProjection.from_pretrained(spec, dtype=torch.float32).audio_model.encoder
        return MuQEncoder(tower.to(device), short_name(spec))
    model = AutoModel.from_pretrained(spec, dtype=torch.float32, trust_remote_code=trust_remote_code)
    extractor = AutoFeatureExtractor.from_pretrained(spec, trust_remote_code=trust_remote_code)
    return TransformersEncoder(model.to(device), extractor, spec)


def is_checkpoint(spec: str) -> bool:
    """Whether a spec of `load_encoder` is a Hub id or folder, which may say what it was trained on."""
    return spec not in BASELINES and not spec.startswith(RANDOM) and not is_adapter(spec)


def random_muq(source: str, device: str = "cpu", seed: int = 0) -> MuQEncoder:
    """A MuQ with random weights: of a preset, or of the configuration in a folder."""
    config = MuQConfig.from_preset(source) if source in PRESETS else MuQConfig.from_pretrained(source)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = MuQModel(config)
    return MuQEncoder(model.to(device), f"{RANDOM}{short_name(source)}")
