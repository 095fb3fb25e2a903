"""`muq-hf train`: its arguments, and what it prints."""

import argparse
import os


VERBS = {"mel-rvq": "mel_rvq", "muq": "muq", "iterate": "iterate", "all": "all", "mulan": "mulan"}
DESCRIPTION = """\
Train MuQ from a folder of music: the tokenizer, masked prediction, refinement, or all three; or MuQ-MuLan from music and text.

  muq-hf train mel-rvq CONFIG.json --data MUSIC --output RUN    stage 1: the Mel-RVQ
  muq-hf train muq     CONFIG.json --targets RVQ …              stage 2: MuQ on its tokens
  muq-hf train iterate CONFIG.json --teacher MUQ …              stage 3: MuQ on tokens of a MuQ's latents
  muq-hf train all     CONFIG.json …                            the three in turn; without a section "iterate" two
  muq-hf train mulan   CONFIG.json --data PAIRS.jsonl …         MuQ-MuLan: {"path": …, "text": …} or {"path": …, "tags": […]}

The finished model comes into RUN/final. After an interruption the same command with --resume continues.
Several GPUs: torchrun --nproc_per_node N -m muq_hf train STAGE CONFIG.json …
"""
EPILOG = """\
Every setting can be written in CONFIG.json and overridden here: --data, --output, --resume, --clip_seconds, --seed, --max-steps,
--learning_rate, --per_device_train_batch_size, and all others of transformers.TrainingArguments; `muq-hf train all CONFIG.json
--help` lists them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("stage", choices=VERBS, help="what to train")
    parser.add_argument("config", metavar="CONFIG.json", help="settings")
    parser.add_argument("settings", nargs=argparse.REMAINDER, metavar="--name value", help="settings that override the file's")


def run(arguments: argparse.Namespace) -> int:
    from ..training.arguments import command_line_overrides
    from ..training.chain import train

    settings = [argument for argument in arguments.settings if argument != "--debug"]
    final = train(VERBS[arguments.stage], arguments.config, command_line_overrides(settings))
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"finished: {final}")
    return 0
