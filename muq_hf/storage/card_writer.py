"""Model cards: metadata that the Hub reads, a title, an example of use, and sections."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

from .safe_text import markdown_text


PIPELINE_TAGS = {  # the Hub's name for what a model of this type does
    "muq": "feature-extraction",
    "muq_classifier": "audio-classification",
    "mel_rvq": "feature-extraction",
    "muq_mulan": "zero-shot-audio-classification",
}


def card(
    data: ModelCardData, title: str, introduction: str, usage: str, sections: Iterable[tuple[str, str]] = (), notes: str = ""
) -> ModelCard:
    """title: plain text, as it may hold a stranger's label; introduction and notes, which stand below it and below the example:
    Markdown. usage: Python code. sections: (heading, Markdown); a heading begins with "## " or "### ".
    """
    parts = [f"---\n{data.to_yaml()}\n---", f"# {markdown_text(title)}", introduction, f"```python\n{usage}\n```", notes]
    for heading, text in sections:
        parts += [heading, text]
    return ModelCard("\n\n".join(part for part in parts if part) + "\n")


def card_table(header: Sequence, rows: Iterable[Sequence]) -> str:
    """A Markdown table of plain text; numbers with four digits."""
    lines = [_row(header), "|" + "---|" * len(header), *map(_row, rows)]
    return "\n".join(lines)


def read_card_data(folder: str | Path) -> ModelCardData | None:
    """The metadata of the card in a model's folder; None if there is no card. Raises ValueError for one that cannot be read."""
    readme = Path(folder) / "README.md"
    if not readme.is_file():
        return None
    try:
        return ModelCard.load(readme, ignore_metadata_errors=True).data
    except Exception as error:  # whatever a stranger's YAML brings up
        raise ValueError(f"{readme} has no readable metadata ({type(error).__name__}): mend it, or move it away.") from None


def _row(cells: Sequence) -> str:
    """Cells may hold names of files and labels: they are shown as they are, and none breaks the table or becomes a link."""
    texts = (f"{cell:.4g}" if isinstance(cell, float) else markdown_text(str(cell)) for cell in cells)
    return "| " + " | ".join(texts) + " |"
