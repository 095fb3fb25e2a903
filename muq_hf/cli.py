"""The `muq-hf` command. A subcommand's module is imported only when it is chosen, so that help and errors come at once.

Each module in `COMMANDS` provides `add_arguments(parser)` and `run(arguments) -> exit code`.
"""

import argparse
import importlib
import io
import os
import sys

from .allocator import reuse_memory


COMMANDS = {  # name: (module, one line for the list of commands)
    "embed": ("muq_hf.commands.embed", "embed music files: one Parquet table of vectors, or frames per file"),
    "tag": ("muq_hf.commands.tag", "score music files against words with a MuQ-MuLan"),
    "search": ("muq_hf.commands.search", "find music by words or by other music, in a table of `embed`"),
    "train": ("muq_hf.commands.train", "train the tokenizer, MuQ, and its refinement, from a folder of music"),
    "data": ("muq_hf.commands.data", "check music before training: hours, rates, silence, duplicates"),
    "probe": ("muq_hf.commands.probe", "ask what a model's features know: probes and retrieval on labelled music"),
    "zero-shot": ("muq_hf.commands.zero_shot", "tag labelled music by text alone, and score the tags"),
    "export": ("muq_hf.commands.export", "write a model as ONNX files, checked in ONNX Runtime"),
    "convert": ("muq_hf.commands.convert", "convert published checkpoints, and prepare folders for the Hub"),
}
USER_ERRORS = (ValueError, OSError, ImportError)  # wrong values, missing files and models, missing extras
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_UNREAD = 141  # 128 + SIGPIPE: whoever read the output has gone (`| head`)


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """→ the parser of all commands; only the `chosen` one has its arguments, which takes importing it."""
    parser = argparse.ArgumentParser(prog="muq-hf", description="MuQ music representations in the Hugging Face ecosystem.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == chosen:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command → exit code: 0 done, 1 done with failures, 2 wrong use, 130 interrupted, 141 output not read."""
    argv = sys.argv[1:] if argv is None else argv
    chosen = argv[0] if argv else None
    reuse_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold what cannot be printed
    try:
        arguments = build_parser(chosen).parse_args(argv)
        code = arguments.run(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more as it ends
        return EXIT_UNREAD
    except USER_ERRORS as error:
        if "--debug" in argv:
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"muq-hf {chosen}: error: {message}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"muq-hf {chosen}: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
