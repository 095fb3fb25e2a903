"""A model folder with its code inside, for people who load it with `trust_remote_code=True` and without this package."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .card import card_data_of, model_card
from .folders import new_folder


PACKAGE = Path(__file__).parent.parent

# What the Auto classes find in an exported folder, by model type.
AUTO_MAPS = {
    "muq": {
        "AutoConfig": "configuration_muq.MuQConfig",
        "AutoModel": "modeling_muq.MuQModel",
        "AutoModelForPreTraining": "modeling_muq.MuQForPreTraining",
        "AutoModelForAudioClassification": "classification_muq.MuQForSequenceClassification",
        "AutoModelForAudioFrameClassification": "classification_muq.MuQForAudioFrameClassification",
    },
    "mel_rvq": {"AutoConfig": "configuration_muq.MelRVQConfig", "AutoModel": "modeling_muq.MelRVQModel"},
}
FEATURE_EXTRACTOR = "feature_extraction_muq.MuQFeatureExtractor"
PIPELINES = {
    "muq": {
        "feature-extraction": {
            "impl": "pipeline_muq.MuQFeatureExtractionPipeline",
            "pt": ["AutoModel"],
            "tf": [],
            "type": "audio",
        }
    }
}

BARE_CHECK = """
import sys
sys.modules["muq_hf"] = None  # as on a machine without the package
import torch
from transformers import AutoFeatureExtractor, AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
AutoFeatureExtractor.from_pretrained(sys.argv[1], trust_remote_code=True)
wave = torch.sin(torch.arange(24000) * 0.05)[None]
with torch.no_grad():
    output = model(wave)
result = output.codes if "codes" in output else output.last_hidden_state
torch.save(result, sys.argv[2])
"""


def export_hub(model: str | Path, output: str | Path, licence: str | None = None, base_model: str | None = None) -> None:
    """Copy a model folder, add code, auto maps and a card, then load and run it in a process without this package.

    Raises ValueError if the licence of the weights is neither known nor given, or if the bare process fails.
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
        for file in model.iterdir():
            if file.is_file() and file.suffix != ".py" and file.name != "README.md":
                shutil.copy2(file, folder)
        entries = [*AUTO_MAPS[model_type].values(), FEATURE_EXTRACTOR]
        config["auto_map"] = AUTO_MAPS[model_type]
        if model_type in PIPELINES:
            config["custom_pipelines"] = PIPELINES[model_type]
            entries += [pipeline["impl"] for pipeline in PIPELINES[model_type].values()]
        _write_json(folder / "config.json", config)
        preprocessor = _read_json(folder / "preprocessor_config.json", f"{model} lacks its feature extractor")
        _write_json(folder / "preprocessor_config.json", preprocessor | {"auto_map": {"AutoFeatureExtractor": FEATURE_EXTRACTOR}})
        for module in code_files(entries):
            shutil.copy2(PACKAGE / module, folder)
        model_card(model_type, Path(output).name, licence, base_model).save(folder / "README.md")
        check_in_bare_process(folder)


def code_files(entries: list[str]) -> list[str]:
    """File names of the modules that `module.Class` entries need, found by following their relative imports."""
    waiting, found = {entry.split(".")[0] for entry in entries}, set()
    while waiting:
        module = waiting.pop()
        found.add(module)
        tree = ast.parse((PACKAGE / f"{module}.py").read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}
        waiting |= imported - found
    return sorted(f"{module}.py" for module in found)


def check_in_bare_process(folder: Path) -> None:
    """Load the folder as a stranger would, offline, and compare with what the package computes. Raises ValueError."""
    import torch
    from transformers import AutoModel

    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.pt"
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(Path(scratch) / "modules")}
        command = [sys.executable, "-c", BARE_CHECK, str(folder), str(result)]
        process = subprocess.run(command, env=environment, capture_output=True, text=True)
        if process.returncode != 0:
            last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"the exported folder does not load without the package: {last_line}")
        bare = torch.load(result, weights_only=True)
    wave = torch.sin(torch.arange(24_000) * 0.05)[None]
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder)(wave)
    ours = output.codes if "codes" in output else output.last_hidden_state
    if not torch.allclose(bare.float(), ours.float(), atol=1e-4):
        raise ValueError("the exported folder computes something else without the package than with it.")


def _read_json(path: Path, otherwise: str) -> dict:
    if not path.is_file():
        raise ValueError(f"{otherwise} ({path.name} is missing).")
    return json.loads(path.read_text())


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
