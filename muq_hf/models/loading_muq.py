"""`from_pretrained` that also reads the published checkpoint format, and never leaves part of the encoder random."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file, logging

from .published_muq import convert_state_dict, is_published_config, reshaped
from .size_check_muq import require_size_of_weights


logger = logging.get_logger(__name__)

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def hub_arguments_of(kwargs: dict) -> dict:
    """The arguments of `from_pretrained` that decide where a file is looked for on the Hub."""
    return {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}


class LoadingMixin:
    """Goes before `PreTrainedModel` in the bases.

    The library's own checkpoint-conversion mapping is not used: it is applied backwards on every save, which would write
    the published layout, weight norms included, again.
    """

    _model_types = ("muq", "mel_rvq")  # a MuQ's folder holds its Mel-RVQ too
    _new_parts: tuple[str, ...] = ()  # beginnings of the names of tensors that a checkpoint may lack
    _advice_if_lacking = ""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path, *model_args, ignore_mismatched_sizes=False, output_loading_info=False, **kwargs
    ):
        """As in transformers. Two other formats are converted in memory: the published one, and that of the first folders of
        this package, whose convolution modules were one-dimensional.

        Raises ValueError if the model is of another type, if tensors of the encoder are missing or have another shape, and for
        an unknown tensor in a published checkpoint; OSError if the file is damaged. Both name the file and the tensor.
        """
        source, where = pretrained_model_name_or_path, pretrained_model_name_or_path
        if source is not None and kwargs.get("state_dict") is None:
            hub_arguments = hub_arguments_of(kwargs)
            config_dict, _ = PreTrainedConfig.get_config_dict(source, **hub_arguments)
            is_published = cls._is_published(config_dict)
            if is_published or config_dict.get("model_type") in cls._model_types:
                described = kwargs.get("config") or cls.config_class.from_pretrained(source, **hub_arguments)
                require_size_of_weights(described, source, hub_arguments, cls.input_modalities)
            if is_published:
                where = cached_file(source, SAFE_WEIGHTS_NAME, **hub_arguments)
                tensors = cls._convert_published(read_safetensors(where))
            elif kwargs.get("config") is None and config_dict.get("model_type") not in (None, *cls._model_types):
                raise ValueError(
                    f"{source} is a model of type {config_dict['model_type']!r}, no {cls.__name__}: AutoModel finds the class."
                )
            else:
                tensors = read_first_layout(source, hub_arguments | {"_commit_hash": config_dict.get("_commit_hash")})
            if tensors is not None:
                kwargs["config"] = cls._config_with_fields(source, hub_arguments, kwargs)
                kwargs["state_dict"] = tensors
                source = None
        try:
            model, info = super().from_pretrained(
                source, *model_args, ignore_mismatched_sizes=True, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise OSError(f"a weights file of {where} is damaged or incomplete ({error}); copy or download it again.") from None
        model._freeze_fixed_parts()
        model.name_or_path = model.config._name_or_path = "" if where is None else str(pretrained_model_name_or_path)
        if info["mismatched_keys"] and not ignore_mismatched_sizes:
            key, found, needed = sorted(info["mismatched_keys"])[0]
            advice = "" if cls._must_be_loaded(key) else " To start this part anew, pass `ignore_mismatched_sizes=True`."
            raise ValueError(f"{where}: tensor {key!r} has shape {tuple(found)}, the model needs {tuple(needed)}.{advice}")
        missing = sorted(key for key in info["missing_keys"] if cls._must_be_loaded(key))
        if missing:
            raise ValueError(
                f"{where} lacks {len(missing)} tensors of {cls.__name__}, the first: {missing[0]!r}.{cls._advice_if_lacking}"
            )
        warn_if_emulated(model)
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | Path, **kwargs) -> None:
        """As in transformers. A model that was loaded with the code of an exported folder copies all of that code too."""
        if __name__.startswith("transformers_modules"):
            copy_code(self.name_or_path, save_directory, self.config)
        super().save_pretrained(save_directory, **kwargs)

    def _apply(self, fn, recurse=True):
        """Move or convert the model, by `.to()` and its like, and warn as `from_pretrained` does."""
        super()._apply(fn, recurse)
        warn_if_emulated(self)
        return self

    def _freeze_fixed_parts(self) -> None:
        """Switch off the gradients of parameters that are never trained; loading switches them on for all."""

    @classmethod
    def _is_published(cls, config: dict) -> bool:
        """Whether a `config.json` is in the published format of this family of models."""
        return is_published_config(config)

    @classmethod
    def _convert_published(cls, tensors: dict) -> dict:
        """Published tensors → the same under the names of this family."""
        return convert_state_dict(tensors)

    @classmethod
    def _must_be_loaded(cls, key: str) -> bool:
        """Whether a model without this tensor is refused: heads may start anew; the encoder and a trained tokenizer may not."""
        return not key.startswith(cls._new_parts)

    @classmethod
    def _config_with_fields(cls, source, hub_arguments, kwargs) -> PreTrainedConfig:
        """The configuration with the fields that the caller sets by name (`num_labels=…`), taken out of `kwargs`."""
        config = kwargs.pop("config", None) or cls.config_class.from_pretrained(source, **hub_arguments)
        for name in [name for name in kwargs if hasattr(config, name) and name not in ("dtype", "attn_implementation")]:
            setattr(config, name, kwargs.pop(name))
        return config


def copy_code(source: str, target: str | Path, config: PreTrainedConfig) -> None:
    """Copy the modules of the exported folder `source`, and drop names in `config` of modules that are not there any more.

    Names that begin with a Hub id ("OWNER/NAME--module.Class") stay: they are found there.
    """
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    for module in Path(source).glob("*_muq*.py") if source else ():
        if not (folder / module.name).exists():
            shutil.copyfile(module, folder / module.name)

    def is_there(name: str) -> bool:
        return "--" in name or (folder / f"{name.split('.')[0]}.py").exists()

    if hasattr(config, "auto_map"):
        config.auto_map = {kind: name for kind, name in config.auto_map.items() if is_there(name)}
    if hasattr(config, "custom_pipelines"):
        config.custom_pipelines = {task: fields for task, fields in config.custom_pipelines.items() if is_there(fields["impl"])}


def read_safetensors(path: str | Path) -> dict:
    """All tensors of a file. Raises OSError that names the file if it is damaged."""
    with opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)


def read_first_layout(source: str | Path, hub_arguments: dict) -> dict | None:
    """All tensors of a model whose convolution modules were saved one-dimensional, in today's shapes; None for other models."""
    files = weights_files(source, hub_arguments)
    if not any(map(_has_first_layout, files)):
        return None
    return {key: reshaped(key, tensor) for file in files for key, tensor in read_safetensors(file).items()}


def weights_files(source: str | Path, hub_arguments: dict) -> list[str]:
    """The safetensors files of a model, one or those that its index names; none for other formats.

    Raises OSError for an index that is damaged, or names a file that is not there.
    """
    options = {**hub_arguments, "_raise_exceptions_for_missing_entries": False}
    if path := cached_file(source, SAFE_WEIGHTS_NAME, **options):
        return [path]
    index = cached_file(source, SAFE_WEIGHTS_INDEX_NAME, **options)
    if index is None:
        return []
    try:
        names = sorted(set(json.loads(Path(index).read_text("utf-8"))["weight_map"].values()))
        return [cached_file(source, name, **hub_arguments) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"{index} is damaged ({type(error).__name__}: {error}); copy or download it again.") from None


def _has_first_layout(file: str) -> bool:
    with opened(file) as tensors:
        names = [key for key in tensors.keys() if key.endswith(".convolution.gate_proj.weight")]  # noqa: SIM118 (not a dict)
        return any(len(tensors.get_slice(name).get_shape()) == 3 for name in names)


@contextmanager
def opened(path: str | Path) -> Iterator:
    """A safetensors file. Raises OSError that names the file if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise OSError(f"{path} is damaged or incomplete ({error}); copy or download it again.") from None


def warn_if_emulated(model) -> None:
    """Warn, once for each dtype, if the model lies on a CPU that has to emulate its dtype."""
    if model.device.type == "cpu" and lacks_instructions_for(model.dtype):
        name = str(model.dtype).removeprefix("torch.")
        logger.warning_once(
            f"This CPU has no {name} instructions: the model will run, but many times slower than in float32. "
            "Load it with dtype=torch.float32, or move it to a GPU."
        )


def lacks_instructions_for(dtype: torch.dtype) -> bool:
    """Whether this CPU emulates a half precision.

    PyTorch built without oneDNN (for Macs) does not tell; it is then taken for one that has no instructions.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return False
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    is_supported = getattr(torch.ops.mkldnn, name, None)
    return is_supported is None or not is_supported()
