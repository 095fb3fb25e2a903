"""`muq-hf export onnx`: its arguments, and what it prints."""

from typing import Annotated

import typer

from .exit_codes import DONE
from .extras import require
from .options import Licence, NewFolder


EXAMPLES = """
muq-hf export onnx muq-large exported --precision float32 int8
muq-hf export onnx muq-large exported --layers 4 8 --split-at-mel
muq-hf export onnx mulan-large exported --precision float16
"""


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="folder or Hub id of a MuQ or MuQ-MuLan")],
    output: NewFolder,
    precision: Annotated[list[str], typer.Option(metavar="P...", help="float32, float16, int8; several make several files")] = [
        "float32"
    ],
    layers: Annotated[list[int], typer.Option(metavar="N...", help="hidden states to give besides the last")] = [],
    split_at_mel: Annotated[bool, typer.Option("--split-at-mel", help="the mel as a file of its own")] = False,
    licence: Licence = None,
) -> int:
    """A MuQ gives model.onnx (input_values, attention_mask → last_hidden_state, frame_mask), a MuQ-MuLan audio_model.onnx
    (input_values, padding_mask → audio_embeds) and text_model.onnx (input_ids, attention_mask → text_embeds). Batch and length
    are free. Every file is compared with PyTorch in ONNX Runtime: batches of 1 and 3, padded, of 2, 10 and 30 s.
    """
    require("onnx", "onnx_ir", "onnxruntime")
    from ..checkpoints import require_folder_or_id
    from ..onnx.check import table
    from ..onnx.onnx_files import export_onnx

    rows = export_onnx(require_folder_or_id(model), output, precision, layers, split_at_mel, licence)
    print(f"{table(rows)}\nWrote {output}.")
    return DONE
