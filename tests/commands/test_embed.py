import shlex
import subprocess
import sys

import pytest

from muq_hf.cli import main
from muq_hf.commands.exit_codes import DONE_WITH_FAILURES, WRONG_USE
from muq_hf.inference.encoding import WindowEncoder
from muq_hf.inference.parquet_store import read_settings


@pytest.mark.parametrize(("given", "told"), [([], "--resume continues"), (["--overwrite"], "--resume in place of --overwrite")])
def test_an_interrupted_run_names_the_command_that_continues_it(
    model_folder, write_song, tmp_path, capsys, monkeypatch, given, told
):
    arguments = ["embed", str(write_song("a.wav", 0.5)), "--model", str(model_folder), "--output", str(tmp_path / "e.parquet")]
    arguments += ["--workers", "0", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(WindowEncoder, "__call__", lambda self, windows: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*arguments, *given]) == 130
    assert f"the same command with {told}" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


def test_the_next_command_is_told_and_works(write_song, tmp_path, capsys):
    write_song("my songs/a.wav", 1.0)
    table = tmp_path / "my songs.parquet"
    assert main(["embed", str(tmp_path / "my songs"), "--output", str(table), "--workers", "0"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"next: muq-hf search \"calm piano\" --index '{table}'"
    assert main(shlex.split(last)[2:]) == 0
    assert "a.wav" in capsys.readouterr().out


def test_own_weights_are_named_in_the_table_wherever_they_lie(write_song, tmp_path):
    arguments = [str(write_song("a.wav", 1.0)), "--output", str(tmp_path / "e.parquet"), "--model", "muq-tiny", "--workers", "0"]
    assert main(["embed", *arguments, "--quiet"]) == 0
    assert read_settings(tmp_path / "e.parquet").model == "muq-tiny"


def test_where_nothing_can_be_read_there_is_no_table_and_it_is_said(write_song, model_folder, tmp_path, capsys):
    (tmp_path / "bad.wav").touch()
    arguments = [str(tmp_path / "bad.wav"), "--output", str(tmp_path / "e.parquet"), "--model", str(model_folder)]
    assert main(["embed", *arguments, "--workers", "0", "--quiet"]) == DONE_WITH_FAILURES
    captured = capsys.readouterr()
    assert captured.out == "" and "none of the 1 input files could be embedded" in captured.err
    assert not (tmp_path / "e.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--output", "e.parquet"], "there is no file or folder nowhere"),
        ([".", "--output", "e.csv"], "ends in .parquet"),
        ([".", "--output", "e.parquet", "--layer", "last"], "whole numbers separated by commas"),
        ([".", "--output", "e.parquet", "--model", "muq-tiny", "--mulan"], "choose one"),
    ],
)
def test_wrong_arguments_are_answered_without_torch(tmp_path, arguments, message):
    code = f"import sys, muq_hf.cli; print(muq_hf.cli.main({['embed', *arguments]}), 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == f"{WRONG_USE} False\n" and message in result.stderr
