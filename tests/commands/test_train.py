"""`muq-hf train STAGE`: which options a stage has, and what becomes of those that are given."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from training_runs import CONFIG, write_music

from muq_hf import cli
from muq_hf.commands.exit_codes import WRONG_USE
from muq_hf.training import chain
from muq_hf.training.arguments import STAGE_ARGUMENTS, DataArguments
from muq_hf.training.stage_options import stage_options


ROOT = Path(cli.__file__).parents[1]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """→ what `chain.train` is called with for options after `train muq CONFIG.json`."""
    (tmp_path / "muq.json").write_text("{}")
    calls = []
    monkeypatch.setattr(chain, "train", lambda *arguments: calls.append(arguments) or tmp_path)

    def call(*options: str) -> dict:
        assert cli.main(["train", "muq", str(tmp_path / "muq.json"), *options]) == 0
        return calls[-1][2]

    return call


@pytest.mark.parametrize("stage", ["mel-rvq", "muq", "iterate", "mulan"])
def test_help_shows_the_options_of_the_stage_once_and_no_others(stage, capsys):
    assert cli.main(["train", stage, "--help"]) == 0
    shown = re.findall(r"^│ {1,4}(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert len(set(shown)) == len(shown)
    own = {field.name.replace("_", "-") for field in fields(STAGE_ARGUMENTS[stage.replace("-", "_")])}
    others = {field.name.replace("_", "-") for kind in STAGE_ARGUMENTS.values() for field in fields(kind)} - own
    names = {name.removeprefix("--") for name in shown}
    assert own <= names and not others & names
    assert {"output", "resume", "data", "max-steps", "learning-rate"} <= names


def test_all_stages_have_the_settings_of_each_once():
    names = [option.name for option in stage_options("all")]
    assert len(set(names)) == len(names)
    for kind in (DataArguments, *(STAGE_ARGUMENTS[stage] for stage in ("mel_rvq", "muq", "iterate"))):
        assert {field.name for field in fields(kind)} <= set(names)


def test_defaults_are_those_of_the_stage():
    def default(stage, name):
        return next(option.default for option in stage_options(stage) if option.name == name)

    assert default("mel_rvq", "max_steps") == 4000 and default("muq", "max_steps") == 400_000
    assert default("all", "max_steps") is None, "the stages differ"


@pytest.mark.parametrize("stage", ["mel-rvq", "muq", "iterate", "all", "distil", "mulan", "classifier"])
def test_help_is_short_and_has_the_examples_of_the_stage(stage, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["train", stage, "--help"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 140
    others = {"mel-rvq", "muq", "iterate", "all", "distil", "mulan", "classifier"} - {stage}
    assert f"muq-hf train {stage} CONFIG.json" in shown and not any(f"train {other} " in shown for other in others)


def test_a_setting_of_training_arguments_that_help_leaves_out_is_taken(given, capsys):
    assert cli.main(["train", "muq", "--help"]) == 0
    assert "--label-smoothing-factor" not in capsys.readouterr().out
    assert given("--label-smoothing-factor", "0.1") == {"label_smoothing_factor": 0.1}


@pytest.mark.parametrize("spelling", ["--eval-share", "--eval_share"])
def test_settings_are_typed_whether_spelled_with_hyphens_or_underscores(given, spelling):
    settings = given(spelling, "0.5", "--max-steps", "-1", "--model", '{"preset": "tiny"}', "--output", "RUN")
    assert settings == {"eval_share": 0.5, "max_steps": -1, "model": {"preset": "tiny"}, "output_dir": "RUN"}


@pytest.mark.parametrize(
    ("options", "value"),
    [(["--hash-files"], True), (["--hash_files", "false"], False), (["--no-hash-files"], False), (["--no_hash_files"], False)],
)
def test_switches_are_taken_as_transformers_scripts_take_them(given, options, value):
    assert given(*options, "--seed", "3") == {"hash_files": value, "seed": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-stepss", "3"], "Did you mean --max-steps"),
        (["--teacher", "folder"], "No such option: --teacher"),
        (["--max-steps", "many"], "invalid int value: 'many'"),
        (["--eval-strategy", "never"], "invalid choice: 'never'"),
    ],
)
def test_wrong_settings_are_named_in_one_line(tmp_path, capsys, options, message):
    (tmp_path / "muq.json").write_text("{}")
    assert cli.main(["train", "muq", str(tmp_path / "muq.json"), *options]) == WRONG_USE
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_no_bars_for_reading_and_writing_weights(tmp_path, capsys):
    write_music(tmp_path / "music")
    (tmp_path / "all.json").write_text(json.dumps(CONFIG | {"max_steps": 2, "disable_tqdm": True}))
    command = ["train", "all", str(tmp_path / "all.json"), "--data", str(tmp_path / "music"), "--output", str(tmp_path / "run")]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    assert f"finished: {tmp_path}" in shown.out
    assert "weights" not in shown.err and "shards" not in shown.err and "%|" not in shown.err


def test_a_missing_configuration_is_named_before_transformers_is_imported():
    code = (
        "import sys, muq_hf.cli\n"
        "print(muq_hf.cli.main(['train', 'muq', 'nowhere.json', '--max-steps', '3']), 'transformers' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == f"{WRONG_USE} False\n" and "nowhere.json" in result.stderr


def test_a_missing_extra_is_named_with_what_installs_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "muq.json").write_text("{}")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "accelerate" else found(name))
    assert cli.main(["train", "muq", str(tmp_path / "muq.json")]) == WRONG_USE
    assert "this needs accelerate: pip install 'muq-hf[train]'" in capsys.readouterr().err
