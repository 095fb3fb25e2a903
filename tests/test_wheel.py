"""What people install: weights, licences and code in one wheel that needs nothing of this repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


pytestmark = pytest.mark.slow  # real processes
ROOT = Path(__file__).parent.parent
MAX_MEGABYTES = 30
USE = """
import socket


def refuse(*_):
    raise OSError("the network was used")


socket.socket.connect = refuse
import muq_hf
import torch
from transformers import AutoModel, AutoProcessor
from muq_hf.audio import load_audio

wave = torch.from_numpy(load_audio({clip!r}, end=2.0))
states = AutoModel.from_pretrained(muq_hf.MUQ_TINY).eval()(wave[None]).last_hidden_state
mulan, processor = (Auto.from_pretrained(muq_hf.MUQ_MULAN_TINY) for Auto in (AutoModel, AutoProcessor))
output = mulan.eval()(**processor(text=["piano"], audio=[wave.numpy()], sampling_rate=24_000, return_tensors="pt"))
print(muq_hf.__file__, tuple(states.shape), tuple(output.logits_per_text.shape))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    shutil.copytree(ROOT / "muq_hf", folder / "muq_hf", ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", folder, "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist")
    (file,) = (folder / "dist").glob("*.whl")
    return file


def pip(*arguments) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size <= MAX_MEGABYTES * 1e6


def test_wheel_holds_weights_with_their_licence_and_attribution(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for model in ("muq-tiny", "muq-mulan-tiny"):
        for file in ("model.safetensors", "config.json", "README.md", "LICENSE", "attribution.jsonl", "training_files.jsonl"):
            assert f"muq_hf/checkpoints/{model}/{file}" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.endswith(".dist-info/licenses/muq_hf/checkpoints/LICENSE") for name in names)


def test_wheel_names_both_licences(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    assert "License-Expression: MIT AND CC-BY-SA-4.0" in archive.read(metadata).decode()


def test_installed_wheel_works_without_the_source_tree(wheel, tmp_path):
    pip("install", wheel, "--no-deps", "--target", tmp_path / "site")
    script = USE.format(clip=str(ROOT / "examples" / "audio" / "bach_brandenburg.ogg"))
    environment = {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")) and "(1, 50, 256) (1, 1)" in done.stdout
