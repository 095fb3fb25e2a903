"""`muq-hf train STAGE`: its arguments, and what it prints."""

import inspect
import os
from pathlib import Path
from typing import Annotated

import typer

from .building import DeferredCommand
from .exit_codes import DONE
from .extras import require


EXAMPLES = """
muq-hf train mel-rvq CONFIG.json --data MUSIC --output RUN
muq-hf train muq CONFIG.json --data MUSIC --output RUN --targets RVQ/final
muq-hf train iterate CONFIG.json --data MUSIC --output RUN --teacher MUQ/final
muq-hf train all CONFIG.json --data MUSIC --output RUN --max-steps 1000
muq-hf train distil CONFIG.json --data MUSIC --output RUN --teachers chroma timbre
muq-hf train mulan CONFIG.json --data PAIRS.jsonl --output RUN
muq-hf train classifier CONFIG.json --data LABELLED.jsonl --output RUN
torchrun --nproc_per_node N -m muq_hf train STAGE CONFIG.json ...
"""
DETAILS = """Every option can also be written in CONFIG.json, with underscores; the command line overrides the file. All other
settings of transformers.TrainingArguments are taken too, in both.

The finished model is in RUN/final. After an interruption the same command with --resume continues.
"""
DATA_OF = {
    "mulan": ('Every line of the manifest --data is {"path": ..., "text": ...} or {"path": ..., "tags": [...]}.',),
    "classifier": (
        'Every line of the manifest --data is {"path": ..., "label": ...}, as for `muq-hf probe`: a class, tags, numbers, '
        '[[start, end, name or number], ...], {"events": [...]} or {"times": [...], "values": [...]}; "split" and "group" may '
        "be given.",
    ),
}
Config = Annotated[str, typer.Argument(metavar="CONFIG.json", help="settings of the run")]
Output = Annotated[
    str | None, typer.Option(metavar="RUN", help="run folder; the model comes into RUN/final", rich_help_panel="Run")
]
Resume = Annotated[bool, typer.Option("--resume", help="continue the run in the run folder", rich_help_panel="Run")]


def _check(arguments: list[str]) -> None:
    """Before transformers is imported: is the configuration there, and what trains?"""
    if not arguments or arguments[0].startswith("-"):
        return
    if not Path(arguments[0]).is_file():
        raise ValueError(f"cannot read the configuration {arguments[0]}: there is no such file.")
    require("accelerate")


def _stage(stage: str) -> DeferredCommand:
    flags: set[str] = set()

    def function():
        if stage == "classifier":
            require("sklearn", "mir_eval")
        from ..training.stage_options import stage_options

        options = stage_options(stage)
        flags.update(option.name.replace("_", "-") for option in options if option.is_flag)

        def run(config: str, output: str | None, resume: bool, **given) -> int:
            named = {option.name: given[option.name] for option in options if given[option.name] not in (None, [])}
            return _train(stage, config, _spelled(named, output, resume))

        run.__signature__ = inspect.Signature([*_FIXED, *map(_parameter, options)], return_annotation=int)
        run.__doc__ = "\n\n".join([DETAILS, *DATA_OF.get(stage, ())])
        return run

    names = (f" train {stage.replace('_', '-')} ", " train STAGE ")
    examples = "\n".join(line for line in EXAMPLES.splitlines() if any(name in line for name in names))
    return DeferredCommand(function, _check, lambda arguments: _with_truth_values(arguments, flags), examples)


_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD
_FIXED = (
    inspect.Parameter("config", _KIND, annotation=Config),
    inspect.Parameter("output", _KIND, annotation=Output, default=None),
    inspect.Parameter("resume", _KIND, annotation=Resume, default=False),
)


def _parameter(option) -> inspect.Parameter:
    """A setting as a parameter for typer. Values stay text: transformers' parser reads them, as it reads the file's."""
    default = "" if option.default in (None, "", [], {}) else f" [default: {option.default}]"
    annotation = Annotated[
        (list[str] if option.is_list else str) | None,
        typer.Option(
            "--" + option.name.replace("_", "-"),
            metavar="BOOL" if option.is_flag else "VALUE",
            help=option.help + default,
            rich_help_panel=option.panel,
            hidden=option.is_hidden,
        ),
    ]
    return inspect.Parameter(option.name, _KIND, annotation=annotation, default=None)


def _with_truth_values(arguments: list[str], flags: set[str]) -> list[str]:
    """`--bf16` as `--bf16 true`, and `--no-bf16` as `--bf16 false`: transformers' scripts take all of them."""
    spelled = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name = argument.removeprefix("--").replace("_", "-") if argument.startswith("--") else ""
        if name in flags and following.lower() not in ("true", "false"):
            spelled += [argument, "true"]
        elif name.removeprefix("no-") in flags and name not in flags:
            spelled += ["--" + name.removeprefix("no-"), "false"]
        else:
            spelled.append(argument)
    return spelled


def _spelled(named: dict, output: str | None, resume: bool) -> list[str]:
    """What was given, as arguments of transformers' parser."""
    spelled = ["--resume"] if resume else []
    if output is not None:
        spelled.append(f"--output={output}")
    for name, value in named.items():
        spelled += [f"--{name}", *value] if isinstance(value, list) else [f"--{name}={value}"]
    return spelled


def _train(stage: str, config: str, settings: list[str]) -> int:
    from ..loader import without_weight_bars
    from ..training.arguments import command_line_overrides
    from ..training.chain import train

    with without_weight_bars():
        final = train(stage, config, command_line_overrides(settings))
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"finished: {final}")
    return DONE


STAGES = ("mel_rvq", "muq", "iterate", "all", "distil", "mulan", "classifier")
mel_rvq, muq, iterate, all_stages, distil, mulan, classifier = map(_stage, STAGES)
