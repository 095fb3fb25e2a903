import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch
from checks import ASSETS

import muq_hf
from muq_hf import MuQConfig, MuQModel, cli
from muq_hf.commands import exit_codes


ROOT = Path(cli.__file__).parents[1]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    sizes = {"conv_channels": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        MuQModel(MuQConfig.from_preset("tiny", **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def song(tmp_path) -> Path:
    noise = 0.1 * torch.randn(24_000, generator=torch.Generator().manual_seed(0))
    soundfile.write(tmp_path / "a.wav", noise.numpy(), 24_000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["embed"], []])
def test_help_and_wrong_use_come_without_torch(arguments):
    code = (
        "import sys, muq_hf.cli\n"
        f"code = muq_hf.cli.main({arguments})\n"
        "print(code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    expected = 0 if "--help" in arguments else 2
    assert result.stdout.splitlines()[-1] == f"{expected} False False", result.stderr


def test_help_takes_less_than_half_a_second():
    """Of the processor's time, which other programs do not lengthen."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert subprocess.run([sys.executable, "-m", "muq_hf", "--help"], cwd=ROOT, capture_output=True).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("words", [*cli.COMMANDS, *cli.GROUPS])
def test_every_command_has_help(words, capsys):
    assert cli.main([*words.split(), "--help"]) == 0
    assert f"muq-hf {words}" in capsys.readouterr().out


def test_module_runs_as_a_program():
    result = subprocess.run([sys.executable, "-m", "muq_hf.cli", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and "embed" in result.stdout


def test_output_that_nobody_reads_on_is_no_error():
    command = [sys.executable, "-m", "muq_hf.cli", "probe", "--list"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == exit_codes.OUTPUT_NOT_READ


def test_a_model_folder_that_is_not_there_is_named(song, tmp_path, capsys):
    missing = str(tmp_path / "nowhere")
    code = cli.main(["embed", str(song), "--model", missing, "--output", str(tmp_path / "out.parquet")])
    assert code == exit_codes.WRONG_USE and f"there is no folder {missing}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["embed", "--output", "e.parquet"], ["tag", "--labels", "labels.txt"]])
def test_a_revision_needs_a_model(command, song, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("piano\n")
    code = cli.main([command[0], str(song), *command[1:], "--revision", "main"])
    assert code == exit_codes.WRONG_USE and "--revision main needs --model" in capsys.readouterr().err


def test_embed_writes_a_table_and_says_so(model_folder, song, tmp_path, capsys):
    output = tmp_path / "e.parquet"
    arguments = ["embed", str(song), "--model", str(model_folder), "--output", str(output), "--layer", "-1", "--workers", "1"]
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert code == 0 and len(pd.read_parquet(output)) == 1
    assert f"{output}: 1 rows; 1 of 1 input files embedded, 1.0 s of audio" in out
    assert "audio-s/s" in err, "the progress bar tells the speed"


def test_embed_with_failures_exits_with_1_and_says_where_they_are(model_folder, song, tmp_path, capsys):
    (tmp_path / "bad.wav").touch()
    code = cli.main(
        ["embed", str(song), str(tmp_path / "bad.wav"), "--model", str(model_folder), "--output", str(tmp_path / "e.parquet")]
        + ["--workers", "0", "--quiet"]
    )
    out, err = capsys.readouterr()
    assert code == 1 and "1 of 2 input files" in out
    assert f"1 files failed (1 empty): see {tmp_path / 'e.failures.jsonl'}" in err
    [line] = (tmp_path / "e.failures.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "empty"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--output", "e.txt"], "must be a file that ends in .parquet"),
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--layer", "first"], "whole numbers separated by commas"),
        (["--layer", "9"], "must name hidden states 0 (front end) to"),
        (["--resume", "--overwrite"], "choose one"),
    ],
)
def test_errors_of_users_are_one_line_and_exit_code_2(model_folder, song, tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    usual = ["--model", str(model_folder), "--output", str(tmp_path / "e.parquet"), "--workers", "0", "--quiet"]
    assert cli.main(["embed", str(song), *usual, *changes]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("muq-hf embed: error: ")]
    assert len(error) == 1 and message in error[0]


def test_debug_shows_the_traceback(song):
    with pytest.raises(ValueError, match="ends in .parquet"):
        cli.main(["embed", str(song), "--model", "m", "--output", "e.txt", "--debug"])


def test_an_interrupted_run_exits_with_130_and_tells_how_to_go_on(model_folder, song, tmp_path, capsys, monkeypatch):
    from muq_hf.inference.encoding import WindowEncoder

    monkeypatch.setattr(WindowEncoder, "__call__", lambda self, windows: (_ for _ in ()).throw(KeyboardInterrupt))
    arguments = ["embed", str(song), "--model", str(model_folder), "--output", str(tmp_path / "e.parquet"), "--workers", "0"]
    assert cli.main(arguments) == 130
    assert "--resume continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch", "words"], "Did you mean 'search'"),
        (["export", "onxn"], "Did you mean 'onnx'?"),
        (["embed", "a.wav", "--outptu", "e.parquet"], "Did you mean --output?"),
        (["embed", "a.wav"], "Missing option '--output'"),
        (["embed", "a.wav", "--output", "e.parquet", "--pool", "average"], "--pool': 'average' is not one of 'mean', 'std'"),
        (["train"], "See `muq-hf train --help`."),
    ],
)
def test_mistyped_words_are_answered_in_one_line_with_the_nearest(arguments, message, capsys):
    assert cli.main(arguments) == exit_codes.WRONG_USE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("muq-hf") and ": error: " in line and message in line


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"muq-hf {muq_hf.__version__}\n"


def test_options_are_taken_with_underscores_too(song, capsys):
    arguments = ["embed", str(song), "--output", "e.txt", "--chunk_length_s"]
    assert cli.main([*arguments, "10"]) == exit_codes.WRONG_USE
    assert "ends in .parquet" in capsys.readouterr().err
    assert cli.main([*arguments, "ten"]) == exit_codes.WRONG_USE
    assert "--chunk-length-s" in capsys.readouterr().err


@pytest.mark.parametrize("values", [["float32", "int8"], ["float32", "--precision", "int8"]])
def test_list_options_take_values_in_a_row_or_one_by_one(values, monkeypatch):
    from muq_hf.commands import export_onnx

    given = []
    monkeypatch.setattr(export_onnx, "require", lambda *modules: None)
    monkeypatch.setattr("muq_hf.onnx.onnx_files.export_onnx", lambda *arguments: given.extend(arguments) or [])
    monkeypatch.setattr("muq_hf.onnx.check.table", lambda rows: "")
    assert cli.main(["export", "onnx", "model", "folder", "--precision", *values, "--layers", "-1", "4", "--split-at-mel"]) == 0
    assert given[2:5] == [["float32", "int8"], [-1, 4], True]


def test_the_shell_completes_commands_and_options(monkeypatch):
    def completions(line: str) -> str:
        environment = {"_MUQ_HF_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        command = [sys.executable, "-m", "muq_hf"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True).stdout

    assert completions("muq-hf sea") == "search\n"
    exports = [words.split()[1] for words in cli.COMMANDS if words.startswith("export ")]
    assert completions("muq-hf export ").split() == exports and "onnx" in exports
    assert "--chunk-length-s" in completions("muq-hf embed --chu")


def test_no_bars_for_reading_weights_and_the_former_name_of_export_hub_works(tmp_path, capsys):
    assert cli.main(["convert", "muq", str(ASSETS / "published_tiny"), str(tmp_path / "muq")]) == 0
    assert "Loading weights" not in capsys.readouterr().err
    assert cli.main(["convert", "hub", str(tmp_path / "muq"), str(tmp_path / "hub")]) == exit_codes.WRONG_USE  # no licence
    err = capsys.readouterr().err
    assert "is now `muq-hf export hub`" in err and "name it with --license" in err and "Loading weights" not in err


def test_a_hub_id_that_cannot_be_had_is_named_by_every_command(song, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "labels.txt").write_text("piano\n")
    for command in (
        ["embed", str(song), "--output", str(tmp_path / "e.parquet"), "--model", "nobody/nothing"],
        ["tag", str(song), "--labels", str(tmp_path / "labels.txt"), "--model", "nobody/nothing"],
        ["export", "onnx", "nobody/nothing", str(tmp_path / "onnx")],
        ["convert", "muq", "nobody/nothing", str(tmp_path / "muq")],
        ["convert", "muq-mulan", "nobody/nothing", str(tmp_path / "mulan")],
    ):
        assert cli.main(command) == exit_codes.WRONG_USE
        assert "error: nobody/nothing is no folder here and cannot be had from the Hub" in capsys.readouterr().err
