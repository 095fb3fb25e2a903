import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch

from muq_hf import MuQConfig, MuQModel, cli


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
        f"try: muq_hf.cli.main({arguments})\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    expected = 0 if "--help" in arguments else 2
    assert result.stdout.splitlines()[-1] == f"{expected} False False", result.stderr


def test_every_command_of_the_table_has_arguments_and_a_run(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help"])
        assert end.value.code == 0 and name in capsys.readouterr().out


def test_module_runs_as_a_program():
    result = subprocess.run([sys.executable, "-m", "muq_hf.cli", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and "embed" in result.stdout


def test_output_that_nobody_reads_on_is_no_error():
    command = [sys.executable, "-m", "muq_hf.cli", "probe", "--list"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == cli.EXIT_UNREAD


def test_a_model_folder_that_is_not_there_is_named(song, tmp_path, capsys):
    missing = str(tmp_path / "nowhere")
    code = cli.main(["embed", str(song), "--model", missing, "--output", str(tmp_path / "out.parquet")])
    assert code == cli.EXIT_USER_ERROR and f"there is no folder {missing}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["embed", "--output", "e.parquet"], ["tag", "--labels", "labels.txt"]])
def test_a_revision_needs_a_model(command, song, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("piano\n")
    code = cli.main([command[0], str(song), *command[1:], "--revision", "main"])
    assert code == cli.EXIT_USER_ERROR and "--revision main needs --model" in capsys.readouterr().err


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
        (["--layer", "9"], "layers must lie between 0"),
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
