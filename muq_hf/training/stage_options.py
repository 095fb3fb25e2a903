"""What can be set for a training stage, in groups: the options of `muq-hf train STAGE`."""

from dataclasses import dataclass, fields

from transformers import HfArgumentParser, TrainingArguments

from .arguments import STAGE_ARGUMENTS, DataArguments, flat_settings


STAGES_OF = {"all": ("mel_rvq", "muq", "latent_rvq", "iterate")}  # of other stages: they alone
DATA, STAGE, OTHER = "Data", "Stage", "Other settings of transformers.TrainingArguments"
PANELS = {
    "Optimisation": (
        "max_steps",
        "num_train_epochs",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "learning_rate",
        "lr_scheduler_type",
        "lr_scheduler_kwargs",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
        "optim",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "seed",
        "data_seed",
    ),
    "Speed and memory": (
        "bf16",
        "fp16",
        "tf32",
        "torch_compile",
        "activation_checkpointing",
        "gradient_checkpointing",
        "dataloader_num_workers",
        "use_cpu",
    ),
    "Logging, evaluation and checkpoints": (
        "logging_steps",
        "eval_strategy",
        "eval_steps",
        "per_device_eval_batch_size",
        "save_strategy",
        "save_steps",
        "save_total_limit",
        "report_to",
    ),
}
PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
NOT_OFFERED = (  # what `--output` and `--resume` say, and what Trainer itself never reads
    "output_dir",
    "resume_from_checkpoint",
    "do_train",
    "do_eval",
    "do_predict",
    "debug",
    "local_rank",
)


@dataclass(frozen=True)
class StageOption:
    """name: of the setting, with underscores; default: None where there is none, or where the stages of "all" differ."""

    name: str
    panel: str
    help: str
    default: object
    is_flag: bool
    is_list: bool


def stage_options(stage: str) -> list[StageOption]:
    """Every setting of `stage` once, panel by panel. Raises KeyError for a stage that does not exist."""
    stages = STAGES_OF.get(stage, (stage,))
    kinds = dict.fromkeys([DataArguments, *(STAGE_ARGUMENTS[name] for name in stages), TrainingArguments])
    defaults = [flat_settings({}, name, {}) for name in stages]
    found = {}
    for kind in kinds:
        actions = {action.dest: action for action in HfArgumentParser(kind)._actions if action.nargs != 0}
        for name in (field.name for field in fields(kind)):
            action = actions.get(name)
            if action is None or name in NOT_OFFERED or name in found or "Deprecated" in (action.help or ""):
                continue
            values = [flat.get(name, action.default) for flat in defaults]
            found[name] = StageOption(
                name=name,
                panel={DataArguments: DATA, TrainingArguments: PANEL_OF.get(name, OTHER)}.get(kind, STAGE),
                help=_first_sentence(action.help or ""),
                default=values[0] if all(value == values[0] for value in values) else None,
                is_flag=action.nargs == "?" and action.const is True and action.type is not str,
                is_list=action.nargs == "+",
            )
    order = [DATA, STAGE, *PANELS, OTHER]
    return sorted(found.values(), key=lambda option: order.index(option.panel))


def _first_sentence(text: str) -> str:
    """Of transformers' paragraphs the beginning; ours are one sentence each."""
    return " ".join(text.replace("%%", "%").split()).split(". ")[0].rstrip(".")
