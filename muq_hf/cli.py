"""The `muq-hf` command: the table of commands, their help, and what becomes of errors.

A command's module is imported only when the command is chosen, so that help and errors come at once. How a command's file
looks: commands/__init__.py.
"""

import importlib
import io
import os
import sys
from typing import Annotated, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from .allocator import reuse_memory
from .commands.building import SETTINGS, build_command, plain, sentence
from .commands.exit_codes import DONE, INTERRUPTED, OUTPUT_NOT_READ, WRONG_USE
from .version import __version__


class Entry(NamedTuple):
    """target: "module" or "module:function" in muq_hf/commands, `run` if no function is named; panel: of the help."""

    target: str
    summary: str
    panel: str | None = None
    hidden: bool = False


MUSIC, TRAINING, MODELS = "Your music", "Training and evaluation", "Models for other places"
COMMANDS = {
    "embed": Entry("embed", "embed music files: one Parquet table of vectors, or frames per file", MUSIC),
    "search": Entry("search", "find music by words or by other music, in a table of `embed`", MUSIC),
    "tag": Entry("tag", "score music files against words, or by the labels of a classifier; over time too", MUSIC),
    "similarity": Entry("similarity", "picture of a song against itself, and where something new begins", MUSIC),
    "tokens": Entry("tokens", "picture of what the tokens keep of a song: 1, 4 and 8 codebooks", MUSIC),
    "serve": Entry("serve", "a page and an API to search your music, listen to it and see it as a map", MUSIC),
    "train mel-rvq": Entry("train:mel_rvq", "stage 1: the Mel-RVQ tokenizer"),
    "train muq": Entry("train:muq", "stage 2: MuQ, by masked prediction of the tokens"),
    "train iterate": Entry("train:iterate", "stage 3: MuQ on tokens of a converged MuQ's latents"),
    "train all": Entry("train:all_stages", "the stages 1 to 3 in turn"),
    "train distil": Entry("train:distil", "MuQ by regression on the latents of other encoders (not in the paper)"),
    "train mulan": Entry("train:mulan", "MuQ-MuLan from music and text"),
    "train classifier": Entry("train:classifier", "classes, tags or numbers of clips or frames, from your own labels"),
    "data check": Entry("data", "decode all music once: hours, rates, silence, broken files, duplicates"),
    "probe": Entry("probe", "ask what a model's features know: probes and retrieval on labelled music", TRAINING),
    "zero-shot": Entry("zero_shot", "tag labelled music by text alone, and score the tags", TRAINING),
    "compare": Entry("compare", "judge generated music by a reference: distances, variety, text adherence, copies", TRAINING),
    "export onnx": Entry("export_onnx", "ONNX files for other languages and devices, checked in ONNX Runtime"),
    "export hub": Entry("export_hub", "a model folder with its code inside, ready for `hf upload`"),
    "export space": Entry("export_space", "a collection as a Space: page, music, vectors and model, ready for `hf upload`"),
    "convert muq": Entry("convert:muq", "a published MuQ"),
    "convert musicfm": Entry("convert:musicfm", "a published MusicFM"),
    "convert muq-mulan": Entry("convert:muq_mulan", "a published MuQ-MuLan, as one self-contained folder"),
    "convert hub": Entry("convert:hub", "the former name of `export hub`", hidden=True),
}
GROUPS = {
    "train": Entry("", "train the tokenizer, MuQ, its refinement, and MuQ-MuLan from your own music", TRAINING),
    "data": Entry("", "check music before training", TRAINING),
    "export": Entry("", "write a model for the Hub or for other runtimes", MODELS),
    "convert": Entry("", "published checkpoints → folders that the Auto classes load", MODELS),
}
PROGRAM = "muq-hf"
USER_ERRORS = (ValueError, OSError, ImportError)  # wrong values, missing files and models, missing extras


class Group(TyperGroup):
    """The commands whose names begin with `path`; a module is imported when its command is resolved."""

    def __init__(self, *, path: str = "", **settings):
        super().__init__(**settings)
        self.path = path
        for words, entry in (COMMANDS | GROUPS).items():
            parent, _, name = words.rpartition(" ")
            if parent == path:
                self.add_command(_stub(name, entry))

    def resolve_command(self, ctx, args: list[str]):
        name, stub, rest = super().resolve_command(ctx, args)
        words = f"{self.path} {name}".strip()
        if stub is None:  # the shell completes a word that is no command yet
            return name, stub, rest
        return name, _group(words) if words in GROUPS else _load(words), rest


def _stub(name: str, entry: Entry) -> TyperCommand:
    return TyperCommand(name, help=plain(entry.summary), rich_help_panel=entry.panel, hidden=entry.hidden)


def _group(path: str) -> Group:
    entry = GROUPS[path]
    return Group(path=path, name=path, help=sentence(entry.summary), context_settings=SETTINGS)


def _load(words: str) -> TyperCommand:
    entry = COMMANDS[words]
    module_name, _, function_name = entry.target.partition(":")
    module = importlib.import_module(f".commands.{module_name}", __package__)
    return build_command(getattr(module, function_name or "run"), entry.summary, getattr(module, "EXAMPLES", ""))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit(DONE)


app = typer.Typer(cls=Group, rich_markup_mode="rich", context_settings=SETTINGS, pretty_exceptions_enable=False)


@app.callback(help="MuQ and MuQ-MuLan: music features, tokens, tags and search.")
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error; works after a command too")] = False,
) -> None:
    """Options before the command. `main` takes --debug out wherever it stands."""


def main(argv: list[str] | None = None) -> int:
    """Run one command → its exit code, one of commands/exit_codes.py."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    argv = [argument for argument in argv if argument != "--debug"]
    reuse_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold what cannot be printed
    root = typer.main.get_command(app)
    if "_MUQ_HF_COMPLETE" in os.environ:
        root.main(argv, PROGRAM)  # answers the shell and ends the process
    try:
        return _run(root, argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more as it ends
        return OUTPUT_NOT_READ
    except KeyboardInterrupt:
        print(f"{_name_of(argv)}: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except (typer.TyperException, *USER_ERRORS) as error:
        if debug:
            raise
        print(f"{_name_of(argv)}: error: {_message(error)}", file=sys.stderr)
        return WRONG_USE


def _run(root: Group, argv: list[str]) -> int:
    try:
        with root.make_context(PROGRAM, [*argv] or ["--help"]) as context:
            code = root.invoke(context)
    except typer.Exit as end:  # --help and the like
        code = end.exit_code if argv else WRONG_USE
    sys.stdout.flush()  # here, where a reader that has gone is noticed
    return code


def _name_of(argv: list[str]) -> str:
    """The program's name with the command's: "muq-hf export onnx"."""
    words = [argument for argument in argv if not argument.startswith("-")]
    known = [path for path in (" ".join(words[:2]), *words[:1]) if path in COMMANDS or path in GROUPS]
    return " ".join([PROGRAM, *known[:1]])


def _message(error: Exception) -> str:
    """The error in one line; for an option that does not exist, with those of nearly that name."""
    if not isinstance(error, typer.TyperException):
        return " ".join(str(error).split()) or type(error).__name__
    nearest = getattr(error, "possibilities", None)
    message = f"{error.message}. Did you mean {' or '.join(nearest)}?" if nearest else error.format_message()
    context = getattr(error, "ctx", None)
    help_line = f" See `{context.command_path} --help`." if context else ""
    return " ".join(message.replace("Value error, ", "").split()) + help_line


if __name__ == "__main__":
    sys.exit(main())
