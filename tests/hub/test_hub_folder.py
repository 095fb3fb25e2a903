"""Folders with code inside, used by a process that has no muq_hf and no network; and the way to the Hub and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, PreTrainedConfig

from muq_hf.hub.hub_folder import export_hub
from muq_hf.models.loading_muq import copy_code
from muq_hf.storage.training_record import read_record, write_record


pytestmark = pytest.mark.slow  # real processes
BARE = """
import sys
sys.modules["muq_hf"] = None
import torch
from transformers import (AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification, AutoModelForPreTraining, pipeline)
folder, clip, out = sys.argv[1:]
for auto in (AutoConfig, AutoFeatureExtractor, AutoModelForPreTraining, AutoModelForAudioClassification,
             AutoModelForAudioFrameClassification):
    assert type(auto.from_pretrained(folder, trust_remote_code=True)).__module__.startswith("transformers_modules")
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
wave = torch.linspace(-1, 1, 9600)[None] ** 3
with torch.no_grad():
    states = model(wave).last_hidden_state
frames = pipeline("feature-extraction", model=folder, trust_remote_code=True)(clip, return_tensors=True)
torch.save({"states": states, "frames": frames}, out)
"""


@pytest.fixture(scope="module")
def exported(published_folder, tmp_path_factory):
    from muq_hf.hub.conversion import convert_muq

    folder = tmp_path_factory.mktemp("export")
    convert_muq(published_folder, folder / "model")
    export_hub(folder / "model", folder / "hub", licence="cc-by-nc-4.0")
    return folder / "hub"


def test_a_process_without_the_package_computes_the_same(exported, tmp_path):
    clip = Path(__file__).parent.parent.parent / "examples" / "audio" / "breakbeat_gunroar.ogg"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", BARE, str(exported), str(clip), str(tmp_path / "out.pt")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    bare = torch.load(tmp_path / "out.pt")

    from transformers import pipeline

    model = AutoModel.from_pretrained(exported)
    with torch.no_grad():
        states = model(torch.linspace(-1, 1, 9600)[None] ** 3).last_hidden_state
    torch.testing.assert_close(bare["states"], states, atol=1e-5, rtol=0)
    frames = pipeline("feature-extraction", model=str(exported))(str(clip), return_tensors=True)
    torch.testing.assert_close(bare["frames"], frames, atol=1e-5, rtol=0)


def test_exported_code_is_what_it_imports_and_no_more(exported):
    lines = [line for file in exported.glob("*.py") for line in file.read_text().splitlines()]
    imported = {line.split()[1].lstrip(".") for line in lines if line.startswith("from .")}
    entries = {"modeling_muq", "classification_muq", "feature_extraction_muq", "pipeline_muq"}  # what the JSON files name
    assert {file.stem for file in exported.glob("*.py")} == imported | entries


def test_saving_an_exported_model_again_leaves_no_dangling_code_references(exported, tmp_path):
    AutoModel.from_pretrained(exported).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert not {"auto_map", "custom_pipelines"} & config.keys()


SAVE_AGAIN = """
import sys
sys.modules["muq_hf"] = None
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
folder, again = sys.argv[1:]
for auto in (AutoModel, AutoFeatureExtractor):
    auto.from_pretrained(folder, trust_remote_code=True).save_pretrained(again)
AutoModelForAudioClassification.from_pretrained(again, trust_remote_code=True, num_labels=2)
pipeline("feature-extraction", model=again, trust_remote_code=True)
"""


def test_a_model_saved_again_without_the_package_has_all_its_code(exported, tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    command = [sys.executable, "-c", SAVE_AGAIN, str(exported), str(tmp_path / "again")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_names_of_code_that_is_gone_are_dropped(tmp_path):
    config = PreTrainedConfig()
    config.auto_map = {"AutoModel": "modeling_muq.MuQModel", "AutoConfig": "owner/name--configuration_muq.MuQConfig"}
    config.custom_pipelines = {"feature-extraction": {"impl": "pipeline_muq.MuQFeatureExtractionPipeline"}}
    copy_code("", tmp_path, config)
    assert config.auto_map == {"AutoConfig": "owner/name--configuration_muq.MuQConfig"} and config.custom_pipelines == {}


def test_unknown_licence_is_refused(micro_folder, tmp_path):
    with pytest.raises(ValueError, match="--license"):
        export_hub(micro_folder, tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


def test_card_has_the_licence_of_the_weights(exported):
    data = ModelCard.load(exported / "README.md").data
    assert data.license == "cc-by-nc-4.0"
    assert data.pipeline_tag == "feature-extraction"


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config.json is missing"):
        export_hub(tmp_path, tmp_path / "hub", licence="mit")


HUB_ROUND_TRIP = """
import sys
sys.path.insert(0, sys.argv[3])
import local_hub
server = local_hub.start()
import os
os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_TOKEN="x", HF_HUB_DISABLE_XET="1",
                  HF_HOME=sys.argv[2], HF_HUB_DISABLE_TELEMETRY="1")
os.environ.pop("HF_HUB_OFFLINE", None)
import subprocess
hf = os.path.join(os.path.dirname(sys.executable), "hf")
subprocess.run([hf, "upload", "me/muq-micro", sys.argv[1]], check=True, capture_output=True)
import torch
from muq_hf import MuQModel, MuQFeatureExtractor
here, there = MuQModel.from_pretrained(sys.argv[1]), MuQModel.from_pretrained("me/muq-micro")
for one, two in zip(here.parameters(), there.parameters(), strict=True):
    assert torch.equal(one, two)
MuQFeatureExtractor.from_pretrained("me/muq-micro")
there.push_to_hub("me/muq-pushed")
pushed = MuQModel.from_pretrained("me/muq-pushed")
for one, two in zip(here.parameters(), pushed.parameters(), strict=True):
    assert torch.equal(one, two)
os.environ["HF_MODULES_CACHE"] = sys.argv[2] + "/modules"
print(sorted(local_hub.REPOS), flush=True)
"""


def test_upload_command_and_push_to_hub_bring_the_weights_there_and_back(exported, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-c", HUB_ROUND_TRIP, str(exported), str(tmp_path), str(Path(__file__).parents[1] / "support")]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "['me/muq-micro', 'me/muq-pushed']" in process.stdout


def test_places_of_the_training_music_stay_at_home(micro_folder, tmp_path):
    shutil.copytree(micro_folder, tmp_path / "trained")
    write_record(tmp_path / "trained", [{"path": "/home/alice/Music/Album/song.flac", "name": "song.flac", "duration": 3.0}])
    export_hub(tmp_path / "trained", tmp_path / "hub", licence="mit")
    assert [entry["path"] for entry in read_record(tmp_path / "hub")] == ["Album/song.flac"]
    assert not any(b"alice" in file.read_bytes() for file in (tmp_path / "hub").iterdir())
