"""`muq-hf train STAGE`: its arguments, and what it prints."""

import os
from typing import Annotated

import typer

from .exit_codes import DONE


EXAMPLES = """
muq-hf train mel-rvq CONFIG.json --data MUSIC --output RUN
muq-hf train muq CONFIG.json --data MUSIC --output RUN --targets RVQ/final
muq-hf train iterate CONFIG.json --data MUSIC --output RUN --teacher MUQ/final
muq-hf train all CONFIG.json --data MUSIC --output RUN --max-steps 1000
muq-hf train mulan CONFIG.json --data PAIRS.jsonl --output RUN
torchrun --nproc_per_node N -m muq_hf train STAGE CONFIG.json ...
"""
PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}  # to TrainingArguments
Config = Annotated[str, typer.Argument(metavar="CONFIG.json", help="settings")]


def mel_rvq(context: typer.Context, config: Config) -> int:
    return _train("mel_rvq", config, context.args)


def muq(context: typer.Context, config: Config) -> int:
    return _train("muq", config, context.args)


def iterate(context: typer.Context, config: Config) -> int:
    return _train("iterate", config, context.args)


def all_stages(context: typer.Context, config: Config) -> int:
    return _train("all", config, context.args)


def mulan(context: typer.Context, config: Config) -> int:
    return _train("mulan", config, context.args)


def _train(stage: str, config: str, settings: list[str]) -> int:
    from ..training.arguments import command_line_overrides
    from ..training.chain import train

    final = train(stage, config, command_line_overrides(settings))
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"finished: {final}")
    return DONE
