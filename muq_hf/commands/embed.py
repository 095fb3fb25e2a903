"""`muq-hf embed`: its arguments, and what it prints. Torch is imported when it runs."""

import argparse
import sys
from collections import Counter


DESCRIPTION = """\
Embed music files with a MuQ model.

  muq-hf embed songs/ --output songs.parquet
      one vector per file: the mean of the last layer's frames (25 per second)
  muq-hf embed songs/ --output parts.parquet --chunk-length-s 10
      one vector for every 10 s, to search within songs
  muq-hf embed songs/ --output frames/ --pool none
      all frames: one safetensors file per song, and manifest.jsonl
  muq-hf embed songs/ --output joint.parquet --mulan
      vectors that `muq-hf search` finds by words
"""
EPILOG = """\
A run that was cut off loses its running batch at most: the same command with --resume (in place of --overwrite) continues it,
and adds new files to a finished output. Files that cannot be embedded are listed with the reason: in songs.failures.jsonl
beside the table, with --pool none in failures.jsonl in the folder.
exit code: 0 all embedded, 1 some files failed, 2 wrong use, 130 interrupted
"""
EXIT_FAILED_FILES = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="audio file; folder, searched for audio files; or manifest: a path per line (.txt .m3u .m3u8), or a column or key "
        "path, file_name, audio or file (.csv .tsv .jsonl)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--model", help="folder or Hub id of a MuQ or MuQ-MuLan, also in the published format (default: the package's muq-tiny)"
    )
    which.add_argument("--mulan", action="store_true", help="the package's muq-mulan-tiny: vectors of music and words alike")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub")
    parser.add_argument("--output", required=True, help="FILE.parquet, or with --pool none a folder")
    parser.add_argument(
        "--layer",
        type=_layers,
        default=[-1],
        help="hidden state to take: 0 = front end, -1 = last layer (default); several as 4,8,12: a row for each",
    )
    parser.add_argument("--pool", default="mean", choices=("mean", "max", "mean+std", "none"), help="over time (default: mean)")
    parser.add_argument(
        "--chunk-length-s",
        type=float,
        metavar="S",
        help="one row for every S seconds; a rest below 1 s joins the row before (default: one row per file)",
    )
    parser.add_argument(
        "--window-length-s",
        type=float,
        metavar="S",
        help="most audio the model sees at once; longer audio is taken in windows (default: 30; a MuQ-MuLan: its clip length)",
    )
    parser.add_argument(
        "--stride-length-s",
        type=float,
        default=0.0,
        metavar="S",
        help="context on each side of a window that is not counted twice (default: 0)",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of the weights (default: float32)"
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="windows at once (default: 8)")
    parser.add_argument("--workers", type=int, metavar="N", help="decoding processes (default: one per core but one, at most 16)")
    parser.add_argument("--resume", action="store_true", help="continue a run, or add files; settings must be the same")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from ..checkpoints import MUQ_MULAN_TINY, MUQ_TINY, or_own
    from ..inference.embedding import embed_files

    try:
        report = embed_files(
            arguments.inputs,
            or_own(arguments.model, MUQ_MULAN_TINY if arguments.mulan else MUQ_TINY, arguments.revision),
            arguments.output,
            layer=arguments.layer,
            pool=arguments.pool,
            chunk_length_s=arguments.chunk_length_s,
            window_length_s=arguments.window_length_s,
            stride_length_s=arguments.stride_length_s,
            device=arguments.device,
            dtype=arguments.dtype,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            revision=arguments.revision,
            resume=arguments.resume,
            overwrite=arguments.overwrite,
            progress=not arguments.quiet,
        )
    except KeyboardInterrupt:
        change = "--resume in place of --overwrite" if arguments.overwrite else "--resume"
        print(f"muq-hf embed: what is done is kept; the same command with {change} continues.", file=sys.stderr)
        raise
    speed = report.audio_seconds / report.seconds
    done = report.files - len(report.failures)
    kind = "files of frames" if arguments.pool == "none" else "rows"
    print(
        f"{report.output}: {report.rows} {kind}; {done} of {report.files} input files embedded, "
        f"{report.audio_seconds:.1f} s of audio in {report.seconds:.1f} s ({speed:.1f} audio-s/s)"
    )
    if not report.failures:
        return 0
    reasons = Counter(failure.reason for failure in report.failures)
    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    print(f"{len(report.failures)} files failed ({counts}): see {report.failures_file}", file=sys.stderr)
    return EXIT_FAILED_FILES


def _layers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"whole numbers separated by commas, got {text!r}") from None
