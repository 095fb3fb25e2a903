"""From a function with annotated parameters to a command with its help."""

from collections.abc import Callable

import typer
from typer.core import TyperCommand


SETTINGS = {"token_normalize_func": lambda name: name.replace("_", "-"), "help_option_names": ["--help", "-h"]}


class Command(TyperCommand):
    """A command whose list options take several values in a row: `--precision float32 int8`."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        lists = {name for option in self.get_params(ctx) if getattr(option, "multiple", False) for name in option.opts}
        spread, rest = [], list(args)
        while rest and rest[0] != "--":
            spread.append(name := rest.pop(0))
            if name.replace("_", "-") in lists and rest:
                spread.append(rest.pop(0))
                while rest and not _is_option(rest[0]):
                    spread += [name, rest.pop(0)]
        return super().parse_args(ctx, spread + rest)


class DeferredCommand(TyperCommand):
    """A command whose options are known only after an import that takes seconds.

    Args:
        function: imports, and returns the function that the command is built from.
        check: called with the arguments before that; raises ValueError for those that are certainly wrong.
        rewrite: called with the arguments after it; returns them in the spelling that the options take.
        examples: lines of the help; default: those of the command's module.
    """

    def __init__(
        self,
        function: Callable[[], Callable[..., int]],
        check: Callable[[list[str]], None],
        rewrite: Callable[[list[str]], list[str]],
        examples: str = "",
    ):
        super().__init__(None)
        self.function, self.check, self.rewrite = function, check, rewrite
        self.summary, self.examples = "", examples

    def make_context(self, info_name, args, parent=None, **extra):
        if not extra.get("resilient_parsing"):  # the shell that asks for completions has no errors to show
            self.check(args)
        command = build_command(self.function(), self.summary, self.examples)
        return command.make_context(info_name, self.rewrite(args), parent, **extra)


def build_command(target: Callable[..., int] | DeferredCommand, summary: str, examples: str) -> TyperCommand:
    """→ the command of a function; its help is the summary as a sentence, then the function's docstring, then the examples."""
    if isinstance(target, DeferredCommand):
        target.summary, target.examples = summary, target.examples or examples
        return target
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(cls=Command, context_settings=SETTINGS)(target)
    command = typer.main.get_command(app)
    paragraphs = [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    command.help = "\n\n".join([sentence(summary), *map(plain, paragraphs)])
    lines = examples.strip().splitlines()
    command.epilog = "\n\n".join(["Examples:", *(f"  {plain(line.strip())}" for line in lines)]) if lines else None
    for parameter in command.params:
        parameter.help = parameter.help and plain(parameter.help)
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""  # typer would call it a <bool>
    return command


def sentence(summary: str) -> str:
    return plain(summary[0].upper() + summary[1:] + ".")


def plain(text: str) -> str:
    """`text` for rich, which would take [brackets] for its markup."""
    return text.replace("[", "\\[")


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not argument[1:2].isdigit() and argument != "-"
