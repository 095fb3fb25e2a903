"""`muq-hf similarity`: its arguments, and what it prints. Torch is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import Device, Revision


EXAMPLES = """
muq-hf similarity song.mp3
muq-hf similarity song.mp3 --layer 2 --kernel-seconds 24 --output song.png
"""


def run(
    song: Annotated[str, typer.Argument(metavar="SONG", help="audio file")],
    model: Annotated[str | None, typer.Option(help="folder or Hub id of a MuQ (default: the package's muq-tiny)")] = None,
    revision: Revision = None,
    layer: Annotated[int, typer.Option(metavar="N", help="hidden state: 0 is the front end, -1 the last layer")] = -1,
    step_seconds: Annotated[float, typer.Option(metavar="S", min=0.04, help="of a row of the matrix")] = 0.5,
    kernel_seconds: Annotated[
        float, typer.Option(metavar="S", min=1.0, help="that novelty looks at, both sides together")
    ] = 16.0,
    output: Annotated[Path | None, typer.Option(metavar="FILE.png", help="picture (default: SONG.similarity.png here)")] = None,
    device: Device = "auto",
) -> int:
    """The picture shows how alike any two moments are, and where something new begins; FILE.npz beside it holds the arrays
    `times`, `similarity`, `novelty` and `boundaries`.
    """
    require("matplotlib")
    import numpy as np

    from ..checkpoints import MUQ_TINY, model_or_default, short_name
    from ..inference.self_similarity import compare_with_itself, plot_self_similarity
    from ..loader import load
    from ..models.pipeline_muq import MuQFeatureExtractionPipeline

    name = model_or_default(model, MUQ_TINY, revision)
    loaded, extractor = load(name, "encoder", revision=revision, device=device)
    read = MuQFeatureExtractionPipeline(loaded, extractor, device=loaded.device)
    frames = read(song, layers=layer, chunk_length_s=30, stride_length_s=2, return_tensors=True)[0].float().numpy()
    found = compare_with_itself(frames, loaded.config.frame_rate, step_seconds, kernel_seconds)
    output = output or Path(f"{Path(song).stem}.similarity.png")
    plot_self_similarity(found, f"{Path(song).name} ({short_name(name)}, layer {layer})", output)
    np.savez_compressed(output.with_suffix(".npz"), **vars(found))
    marks = ", ".join(f"{seconds:.1f}" for seconds in found.boundaries) or "none"
    print(f"boundaries (s): {marks}\nwritten: {output}, {output.with_suffix('.npz')}")
    return DONE
