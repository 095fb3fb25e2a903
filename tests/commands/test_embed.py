import pytest

from muq_hf.cli import main
from muq_hf.inference.encoding import WindowEncoder


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
