"""Arguments that several commands share."""

from typing import Annotated, Literal, get_args

import typer


BaseModel = Annotated[str | None, typer.Option(help="Hub id of the weights' origin, for the model card")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="audio file; folder, searched for audio files; or manifest: a path per line (.txt .m3u .m3u8), or a column or key "
        "path, file_name, audio or file (.csv .tsv .jsonl .parquet); `embed` also takes s3://BUCKET/FOLDER",
    ),
]
Licence = Annotated[str | None, typer.Option("--license", help="licence of the weights, as the Hub names it")]
NewFolder = Annotated[str, typer.Argument(metavar="OUTPUT", help="new folder")]
Pool = Literal["mean", "std", "max", "mean+std"]  # as models.pooling_muq.POOLS, which needs torch
POOLS = get_args(Pool)
Quiet = Annotated[bool, typer.Option("--quiet", help="no progress bar")]
Revision = Annotated[str | None, typer.Option(help="branch, tag or commit of the model on the Hub")]
TableFormat = Annotated[Literal["table", "csv", "jsonl"], typer.Option("--format", help="of the output")]
