"""Published checkpoints → folders that the Auto classes load. Every tensor is used once or stands on a written list."""

import json
import pickle
from pathlib import Path

import torch

from ..loader import read_config
from ..models.configuration_muq import MuQConfig
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.feature_extraction_muq import MuQFeatureExtractor
from ..models.modeling_muq import MuQForPreTraining
from ..models.modeling_muq_mulan import MuQMuLanModel
from ..models.processing_muq_mulan import published_processor
from ..models.published_muq import config_from_musicfm, convert_state_dict, is_published_config, musicfm_tensors
from ..models.published_muq_mulan import config_from_published_mulan, is_published_mulan_config, tower_config
from ..storage.sentence_transformers_files import write_sentence_transformers_files
from .card import card_data_of, described_in, model_card
from .folders import drop_code_references, new_folder


def convert_muq(source: str | Path, output: str | Path, licence: str | None = None, base_model: str | None = None) -> None:
    """Hub id or folder of a published MuQ → folder with encoder, head and tokenizer.

    Raises ValueError or OSError, naming file and tensor, for anything that is not a complete checkpoint of that format.
    """
    config = read_config(source)
    if not is_published_config(config):
        found = f"a {config['model_type']!r} model" if "model_type" in config else "an unknown format"
        raise ValueError(f"{source} is no published MuQ checkpoint: its config.json is that of {found}.")
    model, info = MuQForPreTraining.from_pretrained(source, output_loading_info=True)
    _require_all_used(info, source)
    config = model.config
    extractor = MuQFeatureExtractor.for_config(config)
    _save(model, extractor, source, output, licence, base_model)


def convert_musicfm(
    weights: str | Path, stats: str | Path, output: str | Path, licence: str | None = None, base_model: str | None = None
) -> None:
    """`pretrained_msd.pt` and `msd_stats.json` of MusicFM, the same encoder with random-projection targets → folder."""
    try:
        checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OSError(f"{weights} is no readable PyTorch file of tensors ({reason}).") from None
    try:
        statistics = json.loads(Path(stats).read_text())
    except ValueError as error:
        raise ValueError(f"{stats} is no JSON file ({error}).") from None
    config = MuQConfig(**config_from_musicfm(checkpoint, statistics))
    state_dict = convert_state_dict(musicfm_tensors(checkpoint))
    model, info = MuQForPreTraining.from_pretrained(None, config=config, state_dict=state_dict, output_loading_info=True)
    _require_all_used(info, weights)
    extractor = MuQFeatureExtractor.for_config(config)
    _save(model, extractor, weights, output, licence, base_model)


def convert_muq_mulan(
    source: str | Path,
    output: str | Path,
    audio: str | Path | None = None,
    text: str | Path | None = None,
    licence: str | None = None,
    base_model: str | None = None,
) -> None:
    """Hub id or folder of a published MuQ-MuLan → one self-contained folder: both towers, feature extractor, tokenizer.

    The published folder holds all weights. `audio` is where the music encoder's `config.json` is, and `text` where the text
    encoder's `config.json` and tokenizer are, if not in the published folder (`audio_model/`, `text_model/`), nor in the local
    cache or on the Hub under the names it gives. Raises ValueError or OSError that name what is missing or unknown.
    """
    published = read_config(source)
    if not is_published_mulan_config(published):
        found = f"a {published['model_type']!r} model" if "model_type" in published else "an unknown format"
        raise ValueError(f"{source} is no published MuQ-MuLan checkpoint: its config.json is that of {found}.")
    towers = [tower_config(part, published, source, given, {}) for part, given in (("audio_model", audio), ("text_model", text))]
    config = MuQMuLanConfig(**config_from_published_mulan(published, *towers))
    model, info = MuQMuLanModel.from_pretrained(source, config=config, output_loading_info=True)
    _require_all_used(info, source)
    _save(model, published_processor(published, config, source, text), source, output, licence, base_model)


def _require_all_used(info: dict, source) -> None:
    left_over = sorted(info["unexpected_keys"])
    if left_over:
        raise ValueError(f"{source} has {len(left_over)} tensors that no part of the model takes, the first: {left_over[0]!r}.")


def _save(model, processor, source, output, licence, base_model) -> None:
    known_licence, known_base = card_data_of(source)
    licence, base_model = licence or known_licence, base_model or known_base
    with new_folder(output) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        drop_code_references(folder)
        if model.config.model_type == "muq_mulan":
            write_sentence_transformers_files(folder)
        if licence:
            described = described_in(source, base_model)
            model_card(model.config.model_type, Path(output).name, licence, base_model, described).save(folder / "README.md")
