"""`muq-hf convert`: published checkpoints → folders that the Auto classes load."""

import sys
from typing import Annotated

import typer

from .exit_codes import DONE
from .options import BaseModel, Licence, NewFolder


EXAMPLES = """
muq-hf convert muq OpenMuQ/MuQ-large-msd-iter muq-large
muq-hf convert muq-mulan OpenMuQ/MuQ-MuLan-large mulan-large
muq-hf convert musicfm pretrained_msd.pt msd_stats.json musicfm
"""


def muq(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="folder or Hub id, for instance OpenMuQ/MuQ-large-msd-iter")],
    output: NewFolder,
    licence: Licence = None,
    base_model: BaseModel = None,
) -> int:
    from ..hub.conversion import convert_muq
    from ..loader import without_weight_bars

    with without_weight_bars():
        convert_muq(source, output, licence=licence, base_model=base_model)
    return _wrote(output)


def musicfm(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="pretrained_msd.pt")],
    stats: Annotated[str, typer.Argument(metavar="STATS", help="msd_stats.json")],
    output: NewFolder,
    licence: Licence = None,
    base_model: BaseModel = None,
) -> int:
    from ..hub.conversion import convert_musicfm
    from ..loader import without_weight_bars

    with without_weight_bars():
        convert_musicfm(weights, stats, output, licence=licence, base_model=base_model)
    return _wrote(output)


def muq_mulan(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="folder or Hub id, for instance OpenMuQ/MuQ-MuLan-large")],
    output: NewFolder,
    audio: Annotated[
        str | None,
        typer.Option(help="folder or Hub id with the music encoder's config.json; default: the one that the source names"),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            help="folder or Hub id with the text encoder's config.json and tokenizer; default: the one that the source names"
        ),
    ] = None,
    licence: Licence = None,
    base_model: BaseModel = None,
) -> int:
    from ..hub.conversion import convert_muq_mulan
    from ..loader import without_weight_bars

    with without_weight_bars():
        convert_muq_mulan(source, output, audio=audio, text=text, licence=licence, base_model=base_model)
    return _wrote(output)


def hub(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="folder of a saved or converted model")],
    output: NewFolder,
    licence: Licence = None,
    base_model: BaseModel = None,
) -> int:
    from ..checkpoints import require_folder_or_id
    from ..hub.hub_folder import export_hub
    from ..loader import without_weight_bars

    print("`muq-hf convert hub` is now `muq-hf export hub`; both do the same.", file=sys.stderr)
    with without_weight_bars():
        export_hub(require_folder_or_id(model), output, licence=licence, base_model=base_model)
    return _wrote(output)


def _wrote(output: str) -> int:
    print(f"Wrote {output}.")
    return DONE
