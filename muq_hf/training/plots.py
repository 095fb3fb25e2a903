"""Pictures of a run. Figures are drawn without a display and without matplotlib's global state."""

from pathlib import Path

import torch

from ..storage.json_lines import read_json_lines


SHOWN_CODEBOOKS = (1, 4, 8)


def new_figure(width: float, height: float):
    """→ matplotlib's Figure, width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def plot_usage(counts: torch.Tensor, path: Path) -> None:
    """How often each code is used, most frequent first, one line per codebook. counts: [K, V]."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for k, row in enumerate(counts, start=1):
        share = 100 * (row > 0).double().mean().item()
        axes.plot(row.sort(descending=True).values.numpy(), label=f"codebook {k}: {share:.0f} % used")
    axes.set(xlabel="code, most frequent first", ylabel="tokens", yscale="symlog", title="Use of the codes")
    axes.legend(fontsize="small", ncols=2)
    save_figure(figure, path)


@torch.no_grad()
def plot_reconstructions(model, waveform: torch.Tensor, path: Path) -> None:
    """The log-mel of `waveform` [S] and what 1, 4 and 8 codebooks keep of it, side by side."""
    codes = model.encode(waveform.unsqueeze(0))
    tokens = codes.shape[1]
    mel = model.spectrogram(waveform.unsqueeze(0))[0, :, : 4 * tokens]
    shown = [k for k in SHOWN_CODEBOOKS if k <= codes.shape[2]] or [codes.shape[2]]
    pictures = {"input": mel} | {f"{k} codebook{'s' * (k > 1)}": model.decode(codes[..., :k])[0] for k in shown}
    figure = new_figure(3.2 * len(pictures), 3.2)
    for axes, (title, picture) in zip(figure.subplots(1, len(pictures), sharey=True), pictures.items(), strict=True):
        error = (picture - mel).abs().mean().item() * model.config.mel_std
        axes.imshow(picture.cpu().numpy(), origin="lower", aspect="auto", vmin=mel.min().item(), vmax=mel.max().item())
        axes.set(title=title if title == "input" else f"{title}: {error:.2f} dB off", xlabel="frame (10 ms)")
    figure.axes[0].set_ylabel("mel band")
    save_figure(figure, path)


def plot_curves(metrics: Path, path: Path) -> None:
    """Training and evaluation loss, and masked accuracy where there is one, over the steps of metrics.jsonl."""
    rows = read_json_lines(metrics) if metrics.exists() else []
    names = [("loss", "eval_loss"), ("masked_accuracy", "eval_masked_accuracy")]
    panels = [pair for pair in names if any(name in row for row in rows for name in pair)]
    if not panels:
        return
    figure = new_figure(5 * len(panels), 3.5)
    for axes, pair in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in pair:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None)
        axes.set(xlabel="step", title=pair[0].replace("_", " "))
        axes.legend()
    save_figure(figure, path)
