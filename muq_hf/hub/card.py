"""Model cards: where weights come from decides their licence, and an unknown licence is never guessed."""

import math
import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..storage.card_writer import PIPELINE_TAGS, card, read_card_data
from ..storage.safe_text import printable


PUBLISHED_LICENCES = {  # Hub id of the authors' weights: licence, from their model cards
    "OpenMuQ/MuQ-large-msd-iter": "cc-by-nc-4.0",
    "OpenMuQ/MuQ-MuLan-large": "cc-by-nc-4.0",
}

PUBLISHED_LANGUAGES = {"OpenMuQ/MuQ-MuLan-large": ["en", "zh"]}  # of the texts it was trained on (arXiv 2501.01108)
LANGUAGE = re.compile(r"[a-z]{2,3}")
WIDGET_LABELS = "a calm piano, heavy metal, a string orchestra"
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
RESULT_FIELDS = (  # of an evaluation result, beside its value
    "task_type", "task_name", "dataset_type", "dataset_config", "dataset_name", "dataset_split", "metric_type", "metric_name",
)  # fmt: skip
MAX_RESULT_TEXT = 120  # characters of each

CODE = "Code: [muq_hf](https://pypi.org/project/muq-hf), MIT. The licence above is that of the weights."
CITATION = (
    "Zhu et al., *MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization*, arXiv 2501.01108."
)
USAGE = {
    "muq": """from transformers import pipeline

frames = pipeline("feature-extraction", model="{name}", trust_remote_code=True)("song.mp3")""",
    "muq_classifier": """from transformers import pipeline

labels = pipeline("audio-classification", model="{name}", trust_remote_code=True)("song.mp3")""",
    "mel_rvq": """from muq_hf import MelRVQModel

codes = MelRVQModel.from_pretrained("{name}").encode(waveform)""",
    "muq_mulan": """from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{name}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{name}", trust_remote_code=True)""",
}


def card_data_of(source: str | Path) -> tuple[str | None, str | None]:
    """(licence, base model) of a Hub id or a folder with a card; None for what is unknown.

    A card is text of strangers that is written into a card of ours, so only what looks like a licence or a Hub id is read.
    """
    if str(source) in PUBLISHED_LICENCES:
        return PUBLISHED_LICENCES[str(source)], str(source)
    data = read_card_data(source)
    if data is None:
        return None, None
    base_model = data.base_model[0] if isinstance(data.base_model, list) and data.base_model else data.base_model
    base_model = base_model if isinstance(base_model, str) and HUB_ID.fullmatch(base_model) else None
    licence = data.license if isinstance(data.license, str) and LICENCE.fullmatch(data.license) else None
    return licence or PUBLISHED_LICENCES.get(base_model), base_model


def described_in(source: str | Path, base_model: str | None) -> dict[str, list[str]]:
    """`language` (of the texts) and `datasets` (Hub ids) from the card of a folder, else what is known of its base model.

    As with the licence, only what looks like one is taken.
    """
    data = read_card_data(source)
    known = {"language": PUBLISHED_LANGUAGES.get(base_model, []), "datasets": []}
    for name, pattern in (("language", LANGUAGE), ("datasets", HUB_ID)):
        given = getattr(data, name, None) or []
        items = [given] if isinstance(given, str) else given
        known[name] = [item for item in items if isinstance(item, str) and pattern.fullmatch(item)] or known[name]
    return {name: items for name, items in known.items() if items}


def results_in(source: str | Path) -> list[EvalResult]:
    """The evaluation results in the card of a folder whose weights go on unchanged. Only numbers and short texts are taken."""
    data = read_card_data(source)
    cleaned = []
    for result in getattr(data, "eval_results", None) or []:
        texts = {name: getattr(result, name) for name in RESULT_FIELDS if getattr(result, name) is not None}
        value = result.metric_value
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if is_number and all(isinstance(text, str) and len(text) <= MAX_RESULT_TEXT for text in texts.values()):
            cleaned.append(EvalResult(metric_value=value, **{name: printable(text) for name, text in texts.items()}))
    return cleaned


def model_card(
    model_type: str,
    name: str,
    licence: str,
    base_model: str | None,
    described: dict[str, list[str]] | None = None,
    example: str | None = None,
    results: list[EvalResult] | None = None,
) -> ModelCard:
    """A card with valid Hub metadata.

    name: the folder's, as it stands in the usage example; described: see `described_in`; example: a music file in the folder,
    for the Hub's widget; results: of the evaluation of these weights, see `results_in`.
    """
    measured = {"model_name": name, "eval_results": results} if results else {}
    widget = {}
    if example is not None:
        labels = {"candidate_labels": WIDGET_LABELS} if model_type == "muq_mulan" else {}
        widget["widget"] = [{"src": example, "example_title": "Example", **labels}]
    data = ModelCardData(
        license=licence,
        base_model=base_model,
        library_name="transformers",
        pipeline_tag=PIPELINE_TAGS[model_type],
        tags=["music", "audio", model_type],
        **(described or {}),
        **widget,
        **measured,
    )
    origin = f"Weights of {base_model}, in the layout of transformers." if base_model else "Weights in the layout of muq_hf."
    return card(data, name, origin, USAGE[model_type].format(name=name), [("## Citation", CITATION)], notes=CODE)
