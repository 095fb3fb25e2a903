"""A model folder with its code inside, for people who load it with `trust_remote_code=True` and without this package."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..storage.sentence_transformers_files import write_sentence_transformers_files
from .card import card_data_of, described_in, model_card, results_in
from .exported_code import write_code
from .folders import copy_model_files, new_folder


# What the Auto classes find in an exported folder, by model type.
AUTO_MAPS = {
    "muq": {
        "AutoConfig": "configuration_muq.MuQConfig",
        "AutoModel": "modeling_muq.MuQModel",
        "AutoModelForPreTraining": "modeling_muq.MuQForPreTraining",
        "AutoModelForAudioClassification": "classification_muq.MuQForSequenceClassification",
        "AutoModelForAudioFrameClassification": "classification_muq.MuQForAudioFrameClassification",
    },
    "mel_rvq": {"AutoConfig": "configuration_muq.MelRVQConfig", "AutoModel": "mel_rvq_muq.MelRVQModel"},
    "muq_mulan": {
        "AutoConfig": "configuration_muq_mulan.MuQMuLanConfig",
        "AutoModel": "modeling_muq_mulan.MuQMuLanModel",
    },
}
FEATURE_EXTRACTORS = {
    "muq": "feature_extraction_muq.MuQFeatureExtractor",
    "mel_rvq": "feature_extraction_muq.MuQFeatureExtractor",
    "muq_mulan": "feature_extraction_muq_mulan.MuQMuLanFeatureExtractor",
}
PROCESSORS = {"muq_mulan": "processing_muq_mulan.MuQMuLanProcessor"}
CLASSIFIER, CLASSIFIER_PIPELINE = "MuQForSequenceClassification", "pipeline_classification_muq.MuQAudioClassificationPipeline"
PIPELINES = {  # for the task "feature-extraction"
    "muq": "pipeline_muq.MuQFeatureExtractionPipeline",
    "muq_mulan": "pipeline_muq_mulan.MuQMuLanFeatureExtractionPipeline",
}

AUTO_CLASSES = {  # of classifiers, that what is checked is what is used; of others AutoModel
    CLASSIFIER: "AutoModelForAudioClassification",
    "MuQForAudioFrameClassification": "AutoModelForAudioFrameClassification",
}

BARE_CHECK = """
import sys
sys.modules["muq_hf"] = None  # as on a machine without the package
import torch
import transformers
from transformers import AutoFeatureExtractor, AutoProcessor
model = getattr(transformers, sys.argv[3]).from_pretrained(sys.argv[1], trust_remote_code=True)
AutoFeatureExtractor.from_pretrained(sys.argv[1], trust_remote_code=True)
if model.config.model_type == "muq_mulan":
    AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
run = model.get_audio_features if hasattr(model, "get_audio_features") else model
with torch.no_grad():
    output = run(torch.sin(torch.arange(24000) * 0.05)[None])
torch.save(next(output[name] for name in ("codes", "logits", "last_hidden_state") if name in output), sys.argv[2])
"""


def export_hub(
    model: str | Path,
    output: str | Path,
    licence: str | None = None,
    base_model: str | None = None,
    example: str | Path | None = None,
) -> None:
    """Copy a model folder, add code, auto maps and a card, then load and run it in a process without this package.

    example: a music file that the widget of the model's page on the Hub plays. Raises ValueError if the licence of the weights
    is neither known nor given, or if the bare process fails.
    """
    model = Path(model)
    config = _read_json(model / "config.json", f"{model} is no model folder; convert or save a model there first")
    model_type = config.get("model_type")
    if model_type not in AUTO_MAPS:
        raise ValueError(f"{model} holds a model of type {model_type!r}; those that can be exported: {', '.join(AUTO_MAPS)}.")
    known_licence, known_base = card_data_of(model)
    licence, base_model = licence or known_licence, base_model or known_base
    if not licence:
        raise ValueError(f"the licence of the weights in {model} is unknown; name it with --license, for instance cc-by-nc-4.0.")

    with new_folder(output) as folder:
        copy_model_files(model, folder)
        config = _read_json(folder / "config.json", f"{model}/config.json is a link to another place")
        entries = [*AUTO_MAPS[model_type].values(), FEATURE_EXTRACTORS[model_type]]
        config["auto_map"] = AUTO_MAPS[model_type]
        if model_type in PIPELINES:
            pipeline = {"impl": PIPELINES[model_type], "pt": ["AutoModel"], "tf": [], "type": "audio"}
            config["custom_pipelines"] = {"feature-extraction": pipeline}
            entries.append(PIPELINES[model_type])
        if config.get("architectures") == [CLASSIFIER]:
            pipeline = {"impl": CLASSIFIER_PIPELINE, "pt": ["AutoModelForAudioClassification"], "tf": [], "type": "audio"}
            config["custom_pipelines"]["audio-classification"] = pipeline
            entries.append(CLASSIFIER_PIPELINE)
        _write_json(folder / "config.json", config)
        if model_type in PROCESSORS:
            entries.append(PROCESSORS[model_type])
            _map_processor(folder, model_type, f"{model} lacks its processor")
            write_sentence_transformers_files(folder)
        else:
            _map_feature_extractor(folder, model_type, f"{model} lacks its feature extractor")
        write_code(entries, folder)
        example_name = None if example is None else shutil.copy2(example, folder / f"example{Path(example).suffix}").name
        card_type = "muq_classifier" if config.get("architectures") == [CLASSIFIER] else model_type
        written = model_card(
            card_type,
            Path(output).name,
            licence,
            base_model,
            described=described_in(model, base_model),
            example=example_name,
            results=results_in(model),
        )
        written.save(folder / "README.md")
        check_in_bare_process(folder)


def _map_feature_extractor(folder: Path, model_type: str, complaint: str) -> None:
    file = folder / "preprocessor_config.json"
    _write_json(file, _read_json(file, complaint) | {"auto_map": {"AutoFeatureExtractor": FEATURE_EXTRACTORS[model_type]}})


def _map_processor(folder: Path, model_type: str, complaint: str) -> None:
    """A processor's file holds its feature extractor too."""
    file = folder / "processor_config.json"
    processor = _read_json(file, complaint)
    processor["feature_extractor"]["auto_map"] = {"AutoFeatureExtractor": FEATURE_EXTRACTORS[model_type]}
    _write_json(file, processor | {"auto_map": {"AutoProcessor": PROCESSORS[model_type]}})


def check_in_bare_process(folder: Path) -> None:
    """Load the folder as a stranger would, offline, and compare with what the package computes. Raises ValueError."""
    import torch
    import transformers

    architectures = _read_json(folder / "config.json", f"{folder} is no model folder").get("architectures") or [None]
    auto_class = AUTO_CLASSES.get(architectures[0], "AutoModel")
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.pt"
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(Path(scratch) / "modules")}
        command = [sys.executable, "-c", BARE_CHECK, str(folder), str(result), auto_class]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        if process.returncode != 0:
            last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"the exported folder does not load without the package: {last_line}")
        bare = torch.load(result, weights_only=True)
    model = getattr(transformers, auto_class).from_pretrained(folder)
    run = model.get_audio_features if hasattr(model, "get_audio_features") else model
    with torch.no_grad():
        output = run(torch.sin(torch.arange(24_000) * 0.05)[None])
    ours = next(output[name] for name in ("codes", "logits", "last_hidden_state") if name in output)
    if not torch.allclose(bare.float(), ours.float(), atol=1e-4):
        raise ValueError("the exported folder computes something else without the package than with it.")


def _read_json(path: Path, complaint: str) -> dict:
    if not path.is_file():
        raise ValueError(f"{complaint} ({path.name} is missing).")
    return json.loads(path.read_text())


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
