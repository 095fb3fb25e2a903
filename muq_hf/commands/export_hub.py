"""`muq-hf export hub`: its arguments, and what it prints."""

from typing import Annotated

import typer

from .exit_codes import DONE
from .options import BaseModel, Licence, NewFolder


EXAMPLES = """
muq-hf export hub RUN/final my-muq
hf upload OWNER/my-muq my-muq
"""


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="folder of a saved or converted model")],
    output: NewFolder,
    licence: Licence = None,
    base_model: BaseModel = None,
    example: Annotated[str | None, typer.Option(help="music file to put into the folder, for the widget of its page")] = None,
) -> int:
    from ..checkpoints import require_folder_or_id
    from ..hub.hub_folder import export_hub
    from ..loader import without_weight_bars

    with without_weight_bars():
        export_hub(require_folder_or_id(model), output, licence=licence, base_model=base_model, example=example)
    print(f"Wrote {output}.")
    return DONE
