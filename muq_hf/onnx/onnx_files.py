"""A model → a folder of ONNX files, checked in ONNX Runtime before the folder appears."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedConfig, ProcessorMixin

from ..checkpoints import resolve_name
from ..hub.card import card_data_of
from ..hub.folders import new_folder
from ..loader import CLASSIFIERS, load, model_type, read_config
from ..models.configuration_muq import MuQConfig
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.feature_extraction_muq import MuQFeatureExtractor
from ..models.layers_muq import hidden_state_indices
from ..models.processing_muq_mulan import MuQMuLanProcessor
from ..version import __version__
from .check import LONG_SECONDS, SECONDS, Case, Row, compare, require_agreement, text_cases, wave_cases
from .parts import Part, audio_parts, classifier_parts, encoder_parts, text_parts
from .precision import FILE_SUFFIXES, PRECISIONS, convert
from .prepare import prepare
from .tracing import OPSET, join, trace


def export_onnx(
    source: str | os.PathLike,
    output: str | os.PathLike,
    precisions: Sequence[str] = ("float32",),
    layers: Sequence[int] = (),
    split_at_mel: bool = False,
    licence: str | None = None,
    seconds: tuple[float, ...] = (*SECONDS, *LONG_SECONDS),
) -> list[Row]:
    """Folder or Hub id of a MuQ or MuQ-MuLan → folder with ONNX files, configuration and processor; returns what was checked.

    A MuQ gives model.onnx (of a classifier its logits, unless `layers` are asked for), a MuQ-MuLan audio_model.onnx and
    text_model.onnx; `_fp16` and `_int8` come before `.onnx`.

    Args:
        precisions: of "float32", "float16", "int8". The mel is float32 in all of them, and so are inputs and outputs.
        layers: hidden states that a MuQ gives besides the last, 0 to `num_hidden_layers`.
        split_at_mel: write mel.onnx, whose outputs are the others' inputs.
        licence: of the weights, stored in the files; default: what the source's card says.
        seconds: lengths of the music that the files are checked with.

    Raises ValueError for models and options that cannot be exported and for files that differ from PyTorch.
    """
    unknown = [precision for precision in precisions if precision not in PRECISIONS]
    if unknown or not precisions:
        raise ValueError(f"`precisions` must be some of {', '.join(PRECISIONS)}, got {', '.join(precisions) or 'none'}.")
    source = resolve_name(source)
    kind = model_type(read_config(source))
    with new_folder(output) as folder, tempfile.TemporaryDirectory(dir=folder, prefix="parts.") as scratch:
        writer = _Writer(folder, Path(scratch), list(dict.fromkeys(precisions)), split_at_mel, _metadata(source, licence))
        if kind == MuQConfig.model_type:
            _export_encoder(writer, source, layers, seconds)
        elif kind == MuQMuLanConfig.model_type:
            if layers:
                raise ValueError(f"`layers` are for a MuQ; {source} is a MuQ-MuLan, which gives vectors of the joint space.")
            _export_mulan(writer, source, seconds)
        else:
            raise ValueError(f"{source} has the model_type {kind!r}; those that can be exported: muq, muq_mulan.")
    return writer.rows


def _metadata(source: str | os.PathLike, licence: str | None) -> dict[str, str]:
    known_licence, base_model = card_data_of(source)
    return {
        "model_id": base_model or Path(source).name,
        "license": licence or known_licence or "unknown",
        "opset": str(OPSET),
        "muq_hf": __version__,
    }


def _export_encoder(writer: "_Writer", source, layers: Sequence[int], seconds: tuple[float, ...]) -> None:
    whole = load(source).model
    if type(whole) in CLASSIFIERS.values() and not layers:
        _export_classifier(writer, whole, seconds)
        return
    model = load(source, "encoder").model
    config = model.config
    layers = tuple(dict.fromkeys(hidden_state_indices(layers, config.num_hidden_layers))) if layers else ()

    def run(waves, mask):
        output = model(waves, mask, output_hidden_states=[*layers, config.num_hidden_layers])
        return {"last_hidden_state": output.last_hidden_state} | {f"hidden_states.{i}": output.hidden_states[i] for i in layers}

    cases = wave_cases("attention_mask", config.sampling_rate, run, seconds)
    prepare(model)
    writer.write("model", encoder_parts(model, layers), cases, _rates(config))
    _save_processor(writer.folder, config, MuQFeatureExtractor.for_config(config))


def _export_classifier(writer: "_Writer", model, seconds: tuple[float, ...]) -> None:
    """model.onnx gives logits; `id2label` in its configuration says what they are of."""
    config = model.config
    cases = wave_cases("attention_mask", config.sampling_rate, lambda *x: {"logits": model(*x).logits}, seconds)
    prepare(model)
    writer.write("model", classifier_parts(model), cases, _rates(config))
    _save_processor(writer.folder, config, MuQFeatureExtractor.for_config(config))


def _export_mulan(writer: "_Writer", source, seconds: tuple[float, ...]) -> None:
    """One tower after the other, so that one is in memory at a time."""
    processor = MuQMuLanProcessor.from_pretrained(source)
    model = load(source, "audio").model
    config = model.config
    if config.clip_rule != "duration":
        raise ValueError(
            f"{source} has the clip_rule {config.clip_rule!r}; only 'duration' can be exported: save it with that rule."
        )
    cases = wave_cases("padding_mask", config.sampling_rate, lambda *x: {"audio_embeds": model(*x).audio_embeds}, seconds)
    prepare(model)
    writer.write("audio_model", audio_parts(model.audio_model), cases, _rates(config.audio_config))
    del model, cases

    model = load(source, "text").model
    vocabulary, pad_id = config.text_config.vocab_size, config.text_config.pad_token_id
    cases = text_cases(vocabulary, pad_id, config.max_text_tokens, lambda *x: {"text_embeds": model(*x).text_embeds})
    prepare(model)
    writer.write("text_model", text_parts(model.text_model), cases, {"max_tokens": str(config.max_text_tokens)})
    _save_processor(writer.folder, config, processor)


def _rates(config: MuQConfig) -> dict[str, str]:
    return {
        "sampling_rate": str(config.sampling_rate),
        "frame_rate": str(config.frame_rate),
        "min_samples": str(config.min_samples),
    }


def _save_processor(folder: Path, config: PreTrainedConfig, processor: MuQFeatureExtractor | ProcessorMixin) -> None:
    config.save_pretrained(folder)
    processor.save_pretrained(folder)


class _Writer:
    """Traces a model's parts once and writes them in each precision; keeps the rows of all checks."""

    def __init__(self, folder: Path, scratch: Path, precisions: list[str], split_at_mel: bool, metadata: dict[str, str]):
        self.folder, self.scratch, self.precisions = folder, scratch, precisions
        self.split_at_mel, self.metadata = split_at_mel, metadata
        self.rows: list[Row] = []

    def write(self, name: str, parts: list[Part], cases: list[Case], about: dict[str, str]) -> None:
        """Write `name`.onnx and its variants; only the last part is converted to other precisions."""
        traced = {part.name: self.scratch / f"{name}.{part.name}.onnx" for part in parts}
        for part in parts:
            trace(part, traced[part.name])
        metadata = self.metadata | about
        *before, last = parts
        split = self.split_at_mel and bool(before)
        if split:
            mel = self.folder / "mel.onnx"
            join({part.name: traced[part.name] for part in before}, before, metadata | {"precision": "float32"}, mel)
        for precision in self.precisions:
            source = traced[last.name]
            if precision != "float32":
                source = self.scratch / f"{name}.{precision}.onnx"
                convert(traced[last.name], source, precision)
            file = self.folder / f"{name}{FILE_SUFFIXES[precision]}.onnx"
            joined = {part.name: traced[part.name] for part in ([] if split else before)} | {last.name: source}
            join(joined, parts, metadata | {"precision": precision}, file)
            rows = compare([mel, file] if split else [file], precision, cases)
            require_agreement(rows)
            self.rows += rows
