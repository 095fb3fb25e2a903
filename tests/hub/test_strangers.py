"""Converting and exporting a stranger's folder runs no code of it, and carries none on."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from checks import ASSETS
from mulan_models import save_tiny, tiny_processor

from muq_hf.hub.card import card_data_of
from muq_hf.hub.conversion import convert_muq_mulan, convert_musicfm
from muq_hf.hub.folders import copy_model_files
from muq_hf.hub.hub_folder import export_hub


PUBLISHED_MULAN = ASSETS / "published_mulan_tiny"
EVIL = "import pathlib\npathlib.Path({proof!r}).touch()\nclass Evil:\n    pass\n"


class Stranger:
    """Makes folders that write `proof` when code of theirs is run."""

    def __init__(self, folder: Path):
        self.proof = folder / "proof"

    def add_code(self, folder: Path) -> None:
        (folder / "evil.py").write_text(EVIL.format(proof=str(self.proof)))

    def name_code(self, file: Path, *places: str) -> None:
        """Entries in a JSON file that transformers would follow, at the top or in the objects named by `places`."""
        content = json.loads(file.read_text())
        target = content
        for place in places:
            target = target[place]
        autos = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoFeatureExtractor", "AutoProcessor")
        target["auto_map"] = {auto: ["evil.Evil", None] if auto == "AutoTokenizer" else "evil.Evil" for auto in autos}
        target["custom_pipelines"] = {"feature-extraction": {"impl": "evil.Evil", "pt": ["AutoModel"]}}
        file.write_text(json.dumps(content))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return Stranger(tmp_path)


def assert_harmless(stranger: Stranger, folder: Path) -> None:
    assert not stranger.proof.exists()
    assert not any("evil" in file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())


PLACES = [
    ("tokenizer_config.json",),
    ("processor_config.json",),
    ("processor_config.json", "feature_extractor"),
    ("config.json",),
    ("config.json", "text_config"),
]


@pytest.mark.parametrize(("file", "places"), [(file, places) for file, *places in PLACES])
def test_code_that_a_json_file_names_is_not_carried_on(stranger, tmp_path, file, places):
    model = save_tiny(tmp_path / "model")
    stranger.add_code(model)
    stranger.name_code(model / file, *places)
    (tmp_path / "copy").mkdir()
    copy_model_files(model, tmp_path / "copy")
    assert_harmless(stranger, tmp_path / "copy")


@pytest.mark.slow
def test_code_that_json_files_name_is_not_run_by_the_export(stranger, tmp_path):
    model = save_tiny(tmp_path / "model")
    stranger.add_code(model)
    for file, *places in PLACES:
        stranger.name_code(model / file, *places)
    export_hub(model, tmp_path / "hub", licence="mit")
    assert_harmless(stranger, tmp_path / "hub")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
def test_code_of_a_text_encoder_is_not_run_by_the_conversion(stranger, tmp_path, file):
    text = tmp_path / "text"
    tiny_processor().tokenizer.save_pretrained(text)
    shutil.copy(PUBLISHED_MULAN / "text_model" / "config.json", text)
    stranger.add_code(text)
    stranger.name_code(text / file)
    try:
        convert_muq_mulan(PUBLISHED_MULAN, tmp_path / "model", text=text)
    except (ValueError, OSError):
        assert not (tmp_path / "model").exists()
    assert_harmless(stranger, tmp_path / "model")


def test_a_pickle_is_not_run_by_the_conversion(stranger, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(stranger.proof),)

    weights, stats = tmp_path / "pretrained_msd.pt", tmp_path / "msd_stats.json"
    torch.save({"model": Touch()}, weights)
    stats.write_text("{}")
    with pytest.raises(OSError, match="no readable PyTorch file of tensors"):
        convert_musicfm(weights, stats, tmp_path / "model")
    assert not stranger.proof.exists()


def test_only_listed_files_and_no_links_are_copied(tmp_path):
    model, folder = save_tiny(tmp_path / "model"), tmp_path / "copy"
    folder.mkdir()
    kept = {file.name for file in model.iterdir()}
    for name in (".env", "id_rsa", "optimizer.pt", "pytorch_model.bin", "trainer_state.json", "evil.py", "README.md"):
        (model / name).write_bytes(pickle.dumps(name))
    (tmp_path / "secret").write_text("{}")
    (model / "special_tokens_map.json").unlink(missing_ok=True)
    (model / "special_tokens_map.json").symlink_to(tmp_path / "secret")
    (model / "vocab.json").mkdir()
    copy_model_files(model, folder)
    assert {file.name for file in folder.iterdir()} == kept - {"special_tokens_map.json"}


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    save_tiny(blobs)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    (tmp_path / "copy").mkdir()
    copy_model_files(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (blobs / "model.safetensors").read_bytes()


def test_json_that_cannot_be_read_is_named(tmp_path):
    model = save_tiny(tmp_path / "model")
    (tmp_path / "copy").mkdir()
    (model / "tokenizer_config.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="tokenizer_config.json is no readable JSON"):
        copy_model_files(model, tmp_path / "copy")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("license: cc-by-4.0\nbase_model: OpenMuQ/MuQ-large-msd-iter", ("cc-by-4.0", "OpenMuQ/MuQ-large-msd-iter")),
        ("license: '<script>'\nbase_model: \"x\\n# Run this\"", (None, None)),
        ("license: [mit]\nbase_model: {a: 1}", (None, None)),
    ],
)
def test_only_a_licence_and_an_id_are_taken_from_a_strangers_card(tmp_path, metadata, expected):
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n# Model\n")
    assert card_data_of(tmp_path) == expected


def test_a_card_whose_metadata_cannot_be_read_is_named(tmp_path):
    (tmp_path / "README.md").write_text("---\n" + "[" * 5_000 + "\n---\n")
    with pytest.raises(ValueError, match="README.md has no readable metadata"):
        card_data_of(tmp_path)
