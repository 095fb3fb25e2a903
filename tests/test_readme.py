"""The README's snippets run, in order, with the weights of the package; a small folder stands for the published ones."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, AutoProcessor

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY, MuQConfig
from muq_hf.cli import main


ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^muq-hf .*", README, re.MULTILINE)
WITH_OWN_WEIGHTS = ("embed", "search", "tag", "data", "probe --list")  # the others need the Hub, hours, or a model of one's own


@pytest.fixture
def names(published_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    embeddings = tmp_path / "embeddings.parquet"
    clips = ["examples/audio/bach_brandenburg.ogg", "examples/audio/metal_ezer_ev.ogg"]
    assert main(["embed", *clips, "--output", str(embeddings), "--workers", "1", "--quiet"]) == 0
    return {
        "published": str(published_folder),
        "embeddings": str(embeddings),
        "labels": torch.tensor([0, 3]),
    }


def test_all_snippets_run_in_order(names):
    assert len(SNIPPETS) >= 5
    for snippet in SNIPPETS:
        exec(compile(snippet, "README.md", "exec"), names)
    D = MuQConfig.from_pretrained(MUQ_TINY).hidden_size
    assert names["vector"].shape == (1, D)
    assert names["vectors"].shape == (2, D)
    assert names["nearest"][0].payload["path"] == names["table"]["path"][0]
    assert names["scores"][0]["score"] >= names["scores"][1]["score"]
    assert names["loss"].isfinite()


@pytest.fixture
def music(tmp_path, monkeypatch):
    """A folder with the files that the README's commands name."""
    monkeypatch.chdir(tmp_path)
    clips = [ROOT / "examples" / "audio" / f"{name}.ogg" for name in ("bach_brandenburg", "metal_ezer_ev")]
    for folder in ("songs", "MUSIC", "examples/audio"):
        Path(folder).mkdir(parents=True)
        for clip in clips:
            shutil.copy2(clip, folder)
    soundfile.write("song.mp3", *soundfile.read(clips[0]))
    Path("labels.txt").write_text("baroque\nmetal\n")


def test_commands_run_in_order(music, capsys):
    run = [shlex.split(line, comments=True)[1:] for line in COMMANDS if line.removeprefix("muq-hf ").startswith(WITH_OWN_WEIGHTS)]
    assert len(run) >= 10
    for arguments in run:
        if arguments[0] == "embed":
            Path("songs.parquet").unlink(missing_ok=True)  # two sections of the README write it
        assert main(arguments) == 0, (arguments, capsys.readouterr().err)


def test_sentence_transformers_gives_the_vectors_of_both_towers(names):
    (snippet,) = (snippet for snippet in SNIPPETS if "SentenceTransformer" in snippet)
    names["mulan_folder"] = MUQ_MULAN_TINY
    exec(compile(snippet, "README.md", "exec"), names)
    model, processor = (Auto.from_pretrained(MUQ_MULAN_TINY) for Auto in (AutoModel, AutoProcessor))
    files = ["examples/audio/bach_brandenburg.ogg", "examples/audio/metal_ezer_ev.ogg"]
    texts = ["a baroque orchestra", "heavy metal"]
    output = model.eval()(**processor(text=texts, audio=files, return_tensors="pt"))
    np.testing.assert_allclose(names["music"], output.audio_embeds.detach(), atol=1e-6)
    np.testing.assert_allclose(names["words"], output.text_embeds.detach(), atol=1e-6)
    np.testing.assert_allclose(names["similarity"], names["words"] @ names["music"].T, atol=1e-6)


def test_no_auto_class_is_shown_with_a_published_id():
    for line in README.splitlines():
        assert not re.search(r"Auto\w+\.from_pretrained\(.OpenMuQ", line)


def test_links_of_the_readme_lead_to_files():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
