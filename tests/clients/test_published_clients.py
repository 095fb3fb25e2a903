"""Programs that other people wrote for `muq` 0.1.0, unmodified, on this package: fetched from PyPI, on real clips."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from checks import EXAMPLE_AUDIO
from published_folders import mulan_with_tokenizer, put_into_cache

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY, MuQModel, MuQMuLanModel, MuQMuLanProcessor
from muq_hf.audio import load_audio


pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).parents[1] / "support"
CLIPS = [EXAMPLE_AUDIO / f"{name}.ogg" for name in ("bach_brandenburg", "metal_ezer_ev")]
CHUNK = 5 * 24_000  # samples


def fetch(package: str, folder: Path, *options: str) -> Path:
    """Download one file of PyPI."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *options, package]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.iterdir()
    return file


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def mycelium(tmp_path_factory):
    """What its two classes give for two clips and two texts."""
    folder = tmp_path_factory.mktemp("mycelium")
    zipfile.ZipFile(fetch("mycelium-ai==0.7.2", folder / "wheel")).extractall(folder / "unpacked")
    command = [sys.executable, SUPPORT / "mycelium_worker.py", folder / "unpacked", MUQ_TINY, MUQ_MULAN_TINY, *CLIPS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: np.array(vectors) for name, vectors in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.fixture(scope="module")
def chunks():
    """Of each clip the whole windows of 5 s, [N, 120 000], which is what mycelium embeds."""
    waves = [torch.from_numpy(load_audio(clip, 24_000)) for clip in CLIPS]
    return [wave[: len(wave) // CHUNK * CHUNK].view(-1, CHUNK) for wave in waves]


@torch.no_grad()
def test_mycelium_embeds_music_as_muq_model_does(mycelium, chunks):
    model = MuQModel.from_pretrained(MUQ_TINY).eval()
    expected = np.stack([model(windows).last_hidden_state.mean(dim=(0, 1)).numpy() for windows in chunks])
    assert (unit(mycelium["muq"]) * unit(expected)).sum(axis=1).min() > 0.999


@torch.no_grad()
def test_mycelium_embeds_music_and_texts_as_mulan_does(mycelium, chunks):
    model = MuQMuLanModel.from_pretrained(MUQ_MULAN_TINY).eval()
    music = np.stack([model.get_audio_features(windows).pooler_output.mean(dim=0).numpy() for windows in chunks])
    inputs = MuQMuLanProcessor.from_pretrained(MUQ_MULAN_TINY)(text=["a baroque orchestra", "heavy metal"], return_tensors="pt")
    texts = model.get_text_features(**inputs).pooler_output.numpy()
    assert (unit(mycelium["mulan"]) * unit(music)).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(mycelium["texts"], texts, atol=1e-5)


@pytest.fixture(scope="module")
def snippets(tmp_path_factory):
    """The Python blocks of the published package's README, which stands in its metadata."""
    archive = fetch("muq==0.1.0", tmp_path_factory.mktemp("muq") / "sdist", "--no-build-isolation")
    done = subprocess.run(["tar", "--extract", "--to-stdout", "--file", archive, "muq-0.1.0/PKG-INFO"], capture_output=True)
    return re.findall(r"```python\n(.*?)```", done.stdout.decode(), re.DOTALL)


@pytest.fixture
def machine(published_folder, tmp_path, monkeypatch):
    """What the snippets take for granted: a music file, the two published models, and the device "cuda"."""
    (tmp_path / "path" / "to").mkdir(parents=True)
    soundfile.write(tmp_path / "path" / "to" / "music_audio.wav", *soundfile.read(CLIPS[0]))
    put_into_cache(tmp_path / "hub", "OpenMuQ/MuQ-large-msd-iter", "main", published_folder)
    put_into_cache(tmp_path / "hub", "OpenMuQ/MuQ-MuLan-large", "main", mulan_with_tokenizer(tmp_path / "mulan"))
    return tmp_path


WITHOUT_GPU = """
import torch
if not torch.cuda.is_available():  # the processor stands for the device that the snippets name
    for kind in (torch.Tensor, torch.nn.Module):
        kind.to = lambda self, *places, to=kind.to, **options: to(self, *["cpu" if p == "cuda" else p for p in places], **options)
"""


@pytest.mark.parametrize(
    ("index", "printed"), [(0, ["Total number of layers:  4", "Feature shape:  torch.Size"]), (1, ["tensor([["])]
)
def test_the_snippets_of_muqs_readme_run_with_the_import_line_changed(snippets, machine, index, printed):
    code, changes = re.subn(r"^from muq import", "from muq_hf.compat import", snippets[index], flags=re.MULTILINE)
    assert len(snippets) == 2 and changes == 1
    environment = os.environ | {"HF_HUB_CACHE": str(machine / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_GPU + code]
    done = subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(line in done.stdout for line in printed)
