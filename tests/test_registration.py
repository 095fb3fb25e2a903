"""`import muq_hf` makes the models known to transformers, in whatever order things are imported, and leaves all else alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, FeatureExtractionPipeline, PreTrainedTokenizerFast, pipeline

import muq_hf.registration
from muq_hf import MuQFeatureExtractionPipeline
from muq_hf.registration import register


KNOWN = """
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForPreTraining
from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification
for kind in ("muq", "mel_rvq", "muq_mulan"):
    assert AutoConfig.for_model(kind).model_type == kind
config = AutoConfig.for_model("muq")
for auto_class in (AutoModel, AutoModelForPreTraining, AutoModelForAudioClassification, AutoModelForAudioFrameClassification):
    assert auto_class._model_mapping[type(config)].__module__.startswith("muq_hf.")
from transformers.pipelines import PIPELINE_REGISTRY
assert PIPELINE_REGISTRY.supported_tasks["feature-extraction"]["impl"].__name__ == "FeatureExtractionDispatch"
"""


def run(code, folder=None):
    """In a fresh process, with warnings as errors; what it prints."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import muq_hf", "import muq_hf.models.pipeline_muq"])
def test_the_auto_classes_know_the_models(imports):
    run(imports + KNOWN)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, muq_hf, muq_hf.audio, muq_hf.models.windowing_muq; print(*sys.modules)"
    assert not {"torch", "transformers"} & set(run(code))


@pytest.fixture
def stand_ins(tmp_path):
    """Small packages in the places of transformers and muq_hf; registering prints what is whole by then."""
    registration = Path(muq_hf.registration.__file__).read_text()
    files = {
        "transformers/__init__.py": "import transformers.deep\nwhole = True",
        "transformers/deep.py": "",
        "package/__init__.py": "from .registration import register_when_imported\nregister_when_imported()",
        "package/registration.py": registration + REGISTER,
        "package/light.py": "",
        "package/model.py": "from . import part\nimport transformers\nwhole = True",
        "package/part.py": "import transformers\nwhole = True",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


REGISTER = """
def register():
    import transformers
    from . import model, part
    print("registered", transformers.whole, model.whole, part.whole)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import transformers, package",
        "import package, transformers",
        "import package; from transformers import deep",
        "import package.model",
        "import package.part, package.model",
        "import package.light, package.part",
    ],
)
def test_registers_once_when_everything_is_whole(stand_ins, imports):
    assert run(imports, stand_ins) == ["registered", "True", "True", "True"]


def test_does_not_register_before_transformers_is_imported(stand_ins):
    assert run("import package, package.light", stand_ins) == []


def test_transformers_can_be_imported_when_registering_fails(stand_ins):
    (stand_ins / "package" / "part.py").write_text("from transformers import gone")
    code = "import warnings; warnings.simplefilter('always'); import package, transformers; print(transformers.whole)"
    assert run(code, stand_ins) == ["True"]


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=6, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    BertModel(config).eval().save_pretrained(folder)
    words = {word: index for index, word in enumerate(("[PAD]", "[UNK]", "calm", "piano", "rain", "music"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture
def stock(text_folder):
    """transformers' own pipeline, built past the registry."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(text_folder)
    return FeatureExtractionPipeline(model=BertModel.from_pretrained(text_folder), tokenizer=tokenizer, device="cpu")


@pytest.mark.parametrize("kind", ["folder", "objects", "tokenizer by name"])
def test_text_models_get_the_stock_pipeline(text_folder, stock, kind):
    build = {
        "folder": lambda: pipeline("feature-extraction", model=str(text_folder), device="cpu"),
        "objects": lambda: pipeline("feature-extraction", model=stock.model, tokenizer=stock.tokenizer, device="cpu"),
        "tokenizer by name": lambda: pipeline("feature-extraction", model=stock.model, tokenizer=str(text_folder), device="cpu"),
    }
    text = build[kind]()
    assert type(text) is FeatureExtractionPipeline
    assert text.feature_extractor is None
    assert text("calm piano music") == stock("calm piano music")
    batch = ["calm", "piano rain music", "rain"]
    assert text(batch, batch_size=2) == stock(batch, batch_size=2)
    assert text("rain", return_tensors=True).equal(stock("rain", return_tensors=True))


def test_saved_text_pipelines_hold_nothing_of_ours(text_folder, tmp_path):
    pipeline("feature-extraction", model=str(text_folder), device="cpu").save_pretrained(tmp_path)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    assert not list(tmp_path.glob("*.py"))


def test_text_models_without_tokenizer_say_what_to_pass():
    config = BertConfig(vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(ValueError, match="pass `tokenizer=`"):
        pipeline("feature-extraction", model=BertModel(config), device="cpu")


def test_registering_again_changes_nothing(micro_folder):
    register()
    assert type(pipeline("feature-extraction", model=str(micro_folder), device="cpu")) is MuQFeatureExtractionPipeline


def test_other_tasks_are_left_alone():
    from transformers.pipelines import PIPELINE_REGISTRY

    tasks = PIPELINE_REGISTRY.supported_tasks
    assert [task for task in tasks if "muq_hf" in str(tasks[task]["impl"])] == ["audio-classification", "feature-extraction"]
