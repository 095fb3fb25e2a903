"""`muq-hf export`: models for other runtimes than PyTorch."""

import argparse

from .extras import require


NEEDED = ("onnx", "onnx_ir", "onnxruntime")
EPILOG = """\
examples:
  muq-hf export onnx muq-large exported --precision float32 int8
  muq-hf export onnx muq-large exported --layers 4 8 --split-at-mel
  muq-hf export onnx mulan-large exported --precision float16

A MuQ gives model.onnx (input_values, attention_mask → last_hidden_state, frame_mask), a MuQ-MuLan audio_model.onnx
(input_values, padding_mask → audio_embeds) and text_model.onnx (input_ids, attention_mask → text_embeds). Batch and length
are free. Every file is compared with PyTorch in ONNX Runtime: batches of 1 and 3, padded, of 2, 10 and 30 s."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    onnx = formats.add_parser(
        "onnx",
        help="ONNX files for other languages and devices",
        description="ONNX files for other languages and devices.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    onnx.add_argument("model", help="folder or Hub id of a MuQ or MuQ-MuLan")
    onnx.add_argument("output", help="new folder")
    onnx.add_argument("--precision", nargs="+", default=["float32"], metavar="P", help="float32 (default), float16, int8")
    onnx.add_argument("--layers", nargs="+", type=int, default=[], metavar="N", help="hidden states to give besides the last")
    onnx.add_argument("--split-at-mel", action="store_true", help="the mel as a file of its own")
    onnx.add_argument("--license", dest="licence", help="licence of the weights, as the Hub names it, to store in the files")


def run(arguments: argparse.Namespace) -> int:
    require(*NEEDED)
    from ..checkpoints import MUQ_TINY, or_own
    from ..onnx.check import table
    from ..onnx.onnx_files import export_onnx

    model = or_own(arguments.model, MUQ_TINY)
    rows = export_onnx(model, arguments.output, arguments.precision, arguments.layers, arguments.split_at_mel, arguments.licence)
    print(f"{table(rows)}\nWrote {arguments.output}.")
    return 0
