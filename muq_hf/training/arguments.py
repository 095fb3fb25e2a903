"""Settings of a training run: one JSON file, where every setting is written once, and the command line on top of it.

The file's top level holds what all stages share; the sections "mel_rvq", "muq", "latent_rvq" and "iterate" hold what is a
stage's own. "latent_rvq" starts from "mel_rvq" and "iterate" from "muq", so that they name only what differs. Besides the
settings below, every argument of `transformers.TrainingArguments` may stand in the file and on the command line.
"""

import argparse
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from transformers import HfArgumentParser, PreTrainedConfig, TrainingArguments

from ..checkpoints import resolve_name
from ..models.configuration_muq import MelRVQConfig, MuQConfig
from ..models.configuration_muq_mulan import MuQMuLanConfig
from .classifier_arguments import ClassifierArguments
from .stage_defaults import COMMON_DEFAULTS, STAGE_DEFAULTS


@dataclass
class DataArguments:
    data: str | None = field(
        default=None, metadata={"help": "folder of audio files, JSONL manifest, or folder of a saved `datasets` dataset"}
    )
    clip_seconds: float = field(default=30.0, metadata={"help": "length of the random crops (s); shorter files are left out"})
    channel: str = field(default="random", metadata={"help": '"random": one channel of each crop; "mix": their mean'})
    eval_share: float = field(default=0.05, metadata={"help": "share of the tracks that is only evaluated on"})
    num_eval_clips: int = field(default=64, metadata={"help": "fixed crops of those tracks"})
    max_failing_share: float = field(
        default=0.05, metadata={"help": "training stops when more than this share of the tracks cannot be read"}
    )
    hash_files: bool = field(default=True, metadata={"help": "list each file's SHA-256 with the finished model"})


@dataclass
class MelRVQArguments:
    model: dict | str = field(default_factory=dict, metadata={"help": "fields of MelRVQConfig (JSON)"})
    statistics_clips: int = field(
        default=0, metadata={"help": "crops to measure the log-mel's mean and deviation on; 0 keeps those of the model"}
    )
    collapse_usage: float = field(default=0.2, metadata={"help": "warn when a codebook uses less than this share of its codes"})

    def __post_init__(self):
        self.model = _as_dict(self.model)


@dataclass
class MuQArguments:
    model: dict | str = field(
        default_factory=dict, metadata={"help": 'fields of MuQConfig (JSON), and "preset": tiny, base or large'}
    )
    targets: str | None = field(
        default=None,
        metadata={
            "help": 'folder of a Mel-RVQ or of stored tokens, or "random_projection" (as in MusicFM); in CONFIG.json also '
            'a list of groups {"teacher": ..., "codebooks": 4, "size": 512, "weight": 1}'
        },
    )
    latents: str | None = field(
        default=None,
        metadata={"help": "folder for the latents of such groups' teachers, to share between runs; default: in the run folder"},
    )

    def __post_init__(self):
        self.model = _as_dict(self.model)
        self.latents = None if self.latents is None else Path(self.latents)
        if isinstance(self.targets, list):
            self.targets = token_groups(self.targets)


@dataclass(frozen=True)
class TokenGroup:
    """Tokens of one teacher (see `latent_teachers`): how many codebooks of which size, and their weight in the loss."""

    teacher: str
    codebooks: int = 4
    size: int = 512
    weight: float = 1.0


def token_groups(given: list) -> list[TokenGroup]:
    """Raises ValueError for entries that are no groups."""
    try:
        groups = [TokenGroup(**entry) for entry in given]
    except TypeError as error:
        names = ", ".join(f.name for f in fields(TokenGroup))
        raise ValueError(f"`targets` as a list holds objects with {names}; got {given} ({error}).") from error
    if not groups or any(group.codebooks < 1 or not 2 <= group.size <= 65_536 or not group.weight > 0 for group in groups):
        raise ValueError(
            f"`targets` needs groups of 1 or more codebooks of 2 to 65,536 codes, with weights above 0; got {given}."
        )
    return groups


@dataclass
class IterateArguments:
    model: dict | str = field(
        default_factory=dict, metadata={"help": 'fields of MuQConfig (JSON), and "preset": tiny, base or large'}
    )
    teacher: str | None = field(default=None, metadata={"help": "folder of the converged model whose latents are quantized"})
    layer: int = field(default=10, metadata={"help": "hidden state to quantize: 0 = input of the first layer"})
    rounds: int = field(default=1, metadata={"help": "rounds of refinement; each starts from the model of the round before"})
    store_targets: bool = field(
        default=False, metadata={"help": "compute the tokens of all tracks once and keep them on disk (needs channel=mix)"}
    )

    def __post_init__(self):
        self.model = _as_dict(self.model)
        self.teacher = self.teacher and resolve_name(self.teacher)
        if self.rounds < 1:
            raise ValueError(f"`rounds` must be at least 1, got {self.rounds}.")


@dataclass
class MuLanArguments:
    model: dict | str = field(
        default_factory=dict, metadata={"help": 'fields of MuQMuLanConfig (JSON), and "preset" of the music encoder'}
    )
    start: str | None = field(default=None, metadata={"help": "folder or Hub id of a MuQ-MuLan to train further"})
    music_encoder: str | None = field(default=None, metadata={"help": "folder or Hub id of a MuQ to start from; default: random"})
    text_encoder: str | None = field(
        default=None, metadata={"help": "folder or Hub id of a text encoder with its tokenizer; without weights it starts random"}
    )
    freeze_text: bool = field(default=True, metadata={"help": "leave the text encoder as it is; its adapter is trained"})
    freeze_music: bool = field(default=False, metadata={"help": "leave the music encoder's weights as they are"})
    templates: str | None = field(
        default=None, metadata={"help": "text file with a sentence per line, {tags} in it; default: plain lists of tags"}
    )
    plain_tag_share: float = field(default=0.5, metadata={"help": "share of the tag captions that are plain lists"})
    mask_duplicates: bool = field(
        default=True, metadata={"help": "pairs of the same track or the same caption are no negatives of each other"}
    )

    def __post_init__(self):
        self.model = _as_dict(self.model)
        self.start = self.start and resolve_name(self.start)
        self.music_encoder = self.music_encoder and resolve_name(self.music_encoder)


@dataclass
class DistilArguments:
    model: dict | str = field(
        default_factory=dict, metadata={"help": 'fields of MuQConfig (JSON), and "preset": tiny, base or large'}
    )
    start: str | None = field(default=None, metadata={"help": "folder or Hub id of a MuQ to train further; default: random"})
    teachers: list[str] = field(
        default_factory=list, metadata={"help": "mel, chroma, timbre, MUQ_FOLDER@LAYER or FILE.py:CLASS@LAYER, one or several"}
    )
    teacher_weights: list[float] = field(default_factory=list, metadata={"help": "of each teacher in the loss; default: 1"})
    whiten: list[str] = field(
        default_factory=list,
        metadata={"help": "teachers whose principal components are learned, all as important: fine structure beside loudness"},
    )
    layers: list[int] = field(default_factory=list, metadata={"help": "hidden states that learn, 0 = front end; default: all"})
    latents: str | None = field(
        default=None,
        metadata={"help": "folder for the teachers' latents, to share between runs; default: in the run folder"},
    )
    ridge_clips: int = field(default=256, metadata={"help": "clips that the heads are first fitted on by ridge regression"})
    gain_db: float = field(default=0.0, metadata={"help": "each clip is made louder or softer by up to this (dB)"})
    low_pass_share: float = field(
        default=0.0, metadata={"help": "share of the clips that lose what lies above a random 4 to 12 kHz, as low bitrates do"}
    )

    def __post_init__(self):
        self.model = _as_dict(self.model)
        self.start = self.start and resolve_name(self.start)
        self.latents = None if self.latents is None else Path(self.latents)


STAGE_ARGUMENTS = {
    "classifier": ClassifierArguments,
    "mel_rvq": MelRVQArguments,
    "muq": MuQArguments,
    "latent_rvq": MelRVQArguments,
    "iterate": IterateArguments,
    "mulan": MuLanArguments,
    "distil": DistilArguments,
}
SHARED_MODEL_CONFIGS = (MelRVQConfig, MuQConfig)  # of the stages that share `--model` of `train all`
MODEL_CONFIGS = dict.fromkeys(STAGE_ARGUMENTS, SHARED_MODEL_CONFIGS) | {"mulan": (MuQMuLanConfig,)}
PARENTS = {
    "mel_rvq": None,
    "muq": None,
    "latent_rvq": "mel_rvq",
    "iterate": "muq",
    "mulan": None,
    "distil": None,
    "classifier": None,
}
NOT_INHERITED = {"latent_rvq": ("statistics_clips",), "iterate": ("targets",)}


@dataclass
class Settings:
    """What one stage runs with. `given` is the flat dictionary it came from, as it is written to the run folder."""

    data: DataArguments
    stage: MelRVQArguments | MuQArguments | IterateArguments | MuLanArguments | DistilArguments
    training: TrainingArguments
    given: dict


def read_config(path: str | Path) -> dict:
    """A configuration file as a dictionary. Raises ValueError for a file that is missing, no JSON or has unknown sections."""
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(config).__name__}.")
    sections = [name for name, value in config.items() if isinstance(value, dict)]
    unknown = [name for name in sections if name not in STAGE_ARGUMENTS and name not in _known_names()]
    if unknown:
        raise ValueError(f"{path} has unknown sections {unknown}; valid: {', '.join(STAGE_ARGUMENTS)}.")
    return config


def flat_settings(config: dict, stage: str, overrides: dict) -> dict:
    """The settings of `stage`: defaults, then the shared ones, the parent stage's, the stage's own, the command line's.

    Later sources override earlier ones. `model` is merged field by field, unless the later one names another preset.
    """
    parent = PARENTS[stage]
    inherited = dict(config.get(parent, {})) if parent else {}
    for name in NOT_INHERITED.get(stage, ()):
        inherited.pop(name, None)
    shared = {name: value for name, value in config.items() if name not in STAGE_ARGUMENTS}
    flat = {**COMMON_DEFAULTS, **STAGE_DEFAULTS[parent or stage]}
    for given in (shared, inherited, config.get(stage, {}), overrides):
        flat = _overridden(flat, given)
    return flat


def _overridden(flat: dict, given: dict) -> dict:
    """`flat` with the settings of `given` in place of its own, and without those that only fit a choice that `given` replaces."""
    flat = dict(flat)
    if given.get("lr_scheduler_type", flat.get("lr_scheduler_type")) != flat.get("lr_scheduler_type"):
        flat.pop("lr_scheduler_kwargs", None)
    if "num_train_epochs" in given:
        flat["max_steps"] = -1
    if isinstance(given.get("model"), dict) and isinstance(flat.get("model"), dict) and "preset" not in given["model"]:
        given = {**given, "model": {**flat["model"], **given["model"]}}
    return {**flat, **given}


def build_settings(flat: dict, stage: str, output_dir: Path) -> Settings:
    """Check and type the flat settings of `stage`. Raises ValueError for names that no argument has."""
    types = (DataArguments, STAGE_ARGUMENTS[stage], TrainingArguments)
    known = {f.name for kind in types for f in fields(kind)}
    others = {f.name for kind in STAGE_ARGUMENTS.values() for f in fields(kind)} - known
    flat = {name: value for name, value in flat.items() if name not in others}  # shared settings of other stages
    for name in flat:
        if name not in known:
            hint = _nearest(name, known) or "; see `muq-hf train STAGE --help`."
            raise ValueError(f"unknown setting {name!r} for the stage {stage!r}{hint}")
    flat = {**flat, "output_dir": str(output_dir)}
    if flat.get("eval_steps") is None and flat.get("eval_strategy") == "steps":
        flat["eval_steps"] = flat.get("save_steps", 500)
    if flat.get("warmup_steps", 0) >= flat["max_steps"] > 0:  # a short trial of a long recipe
        flat["warmup_steps"] = flat["max_steps"] - 1
    data, own, training = HfArgumentParser(types).parse_dict(flat)
    _check(data, training)
    model = getattr(own, "model", {})  # a classifier has no such setting
    check_model_fields(model, *MODEL_CONFIGS[stage])
    check_model_fields(model.get("audio_config", {}), MuQConfig)  # of a MuQ-MuLan
    return Settings(data, own, training, flat)


def check_model_fields(given: dict, *config_classes: type[PreTrainedConfig]) -> None:
    """Raises ValueError for a name that none of the classes has: a configuration would keep it, and nothing would use it."""
    known = {"preset"}.union(*(kind().to_dict() for kind in config_classes))
    for name in given:
        if name not in known:
            classes = " or ".join(kind.__name__ for kind in config_classes)
            raise ValueError(f"`model` sets {name!r}, which {classes} does not have{_nearest(name, known) or '.'}")


def rvq_config(model: dict, **decided) -> MelRVQConfig:
    """Of a `model` that all stages share, what a Mel-RVQ has; `decided` are the fields that the stage decides itself."""
    known = MelRVQConfig().to_dict()
    return MelRVQConfig(**{name: value for name, value in {**model, **decided}.items() if name in known})


def _nearest(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else None


def crop_seed(training: TrainingArguments) -> int:
    """The seed of crops, masks and captions. The initial weights follow `seed`."""
    return training.seed if training.data_seed is None else training.data_seed


def command_line_overrides(argv: list[str]) -> dict:
    """Only what was given: `--learning_rate 1e-4`, `--max-steps 10`, `--output RUN`, `--resume`, …"""
    kinds = (DataArguments, *dict.fromkeys(STAGE_ARGUMENTS.values()), TrainingArguments)
    prog = "muq-hf train STAGE CONFIG.json"
    parser = _RaisingParser(kinds, prog=prog, usage=f"{prog} [--name value …]", conflict_handler="resolve", allow_abbrev=False)
    parser.add_argument("--output", dest="output_dir", help="run folder; the model comes into RUN/final")
    parser.add_argument("--resume", action="store_true", help="continue the run in the run folder")
    for action in parser._actions:
        action.default = argparse.SUPPRESS
        action.required = False
        if action.type is dict:
            action.type = _as_dict
    return vars(parser.parse_args(argv))


class _RaisingParser(HfArgumentParser):
    def error(self, message: str):
        raise ValueError(f"{message}.")


def _check(data: DataArguments, training: TrainingArguments) -> None:
    if data.channel not in ("random", "mix"):
        raise ValueError(f'`channel` must be "random" or "mix", got {data.channel!r}.')
    if not 0 <= data.eval_share < 1:
        raise ValueError(f"`eval_share` must be at least 0 and below 1, got {data.eval_share}.")
    if not data.clip_seconds > 0:
        raise ValueError(f"`clip_seconds` must be positive, got {data.clip_seconds}.")
    if training.n_gpu > 1:
        raise ValueError(
            f"{training.n_gpu} GPUs are visible to one process: start one process per GPU, `torchrun --nproc_per_node "
            f"{training.n_gpu} -m muq_hf train STAGE CONFIG.json`, or set CUDA_VISIBLE_DEVICES to one."
        )


def _as_dict(value: dict | str) -> dict:
    if isinstance(value, dict):
        return value
    try:
        parsed = json.loads(value)
    except (TypeError, json.JSONDecodeError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError(f'`model` must be a JSON object such as {{"preset": "tiny"}}, got {value!r}.')
    return parsed


def _known_names() -> set[str]:
    kinds = (DataArguments, *STAGE_ARGUMENTS.values(), TrainingArguments)
    return {f.name for kind in kinds for f in fields(kind)}
