"""`muq-hf tokens`: its arguments, and what it prints. Torch is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import Device, Revision


EXAMPLES = """
muq-hf tokens song.mp3
muq-hf tokens song.mp3 --start 60 --seconds 8 --output chorus.png
"""


def run(
    song: Annotated[str, typer.Argument(metavar="SONG", help="audio file")],
    model: Annotated[
        str | None, typer.Option(help="folder or Hub id of a Mel-RVQ, or of a MuQ with one (default: the package's muq-tiny)")
    ] = None,
    revision: Revision = None,
    start: Annotated[float, typer.Option(metavar="S", min=0.0, help="first second shown")] = 0.0,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="of music shown")] = 10.0,
    output: Annotated[Path | None, typer.Option(metavar="FILE.png", help="picture (default: SONG.tokens.png here)")] = None,
    device: Device = "auto",
) -> int:
    """The log-mel, and what 1, 4 and 8 codebooks keep of it; FILE.npz beside the picture holds `codes` (25 a second, a column for
    each codebook) and the spectrograms in decibels.
    """
    require("matplotlib")
    import numpy as np
    import torch

    from ..audio import check_audible, load_audio
    from ..checkpoints import MUQ_TINY, model_or_default
    from ..devices import resolve_device
    from ..evaluation.token_pictures import load_tokenizer, plot_reconstructions

    name = model_or_default(model, MUQ_TINY, revision)
    tokenizer = load_tokenizer(name, revision).to(resolve_device(device)).eval()
    wave = load_audio(song, tokenizer.config.sampling_rate, start=start, end=start + seconds)
    check_audible(
        len(wave), np.abs(wave).max(initial=0.0), tokenizer.config.samples_per_frame + tokenizer.config.min_samples, song
    )
    output = output or Path(f"{Path(song).stem}.tokens.png")
    found = plot_reconstructions(tokenizer, torch.from_numpy(wave).to(tokenizer.device), output)
    np.savez_compressed(output.with_suffix(".npz"), **found)
    errors = [
        f"{key.removeprefix('mel_')}: {np.abs(found[key] - found['mel']).mean():.2f} dB" for key in found if key[:4] == "mel_"
    ]
    print(f"{found['codes'].shape[0]} tokens; mean error with codebooks {', '.join(errors)}")
    print(f"written: {output}, {output.with_suffix('.npz')}")
    return DONE
