"""Pictures as PNG files, drawn without a display and without matplotlib's global state."""

from pathlib import Path


def new_figure(width: float, height: float):
    """→ matplotlib's Figure, width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path: Path, dots_per_inch: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dots_per_inch)
