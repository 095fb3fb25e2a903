"""Models × tasks: the table, one row at a time."""

from collections.abc import Callable, Sequence

from . import guards
from .encoders import Encoder, NoTimeAxisError
from .tasks import Task
from .trial import Settings, Trial


def evaluate(
    models: Sequence[tuple[Encoder, guards.TrainingMusic | None]],
    tasks: Sequence[Task],
    settings: Settings,
    log: Callable[[str], None] = print,
    save: Callable[[list[dict]], object] = lambda rows: None,
) -> list[dict]:
    """One row for each model and task: every score with mean and deviation over seeds; each task's first row is chance.

    models: encoders with the music that they were trained on, where that is recorded.
    log: called with a line for each row, and for whatever a reader of the table must know: a model without a time axis, which is
    left out of frame tasks, clips that cannot be read, checks that fail.
    save: called with the rows so far whenever a task is done, so that a run that is cut off keeps them.
    Raises LeakError, before anything is computed, if a test track is in a model's training music; ValueError if too many clips
    cannot be read.
    """
    for encoder, trained_on in models:
        for task in tasks if trained_on else ():
            guards.refuse_leak(task.clips, trained_on, encoder.name)
    rows: list[dict] = []
    for task in tasks:
        task_rows: list[dict] = []
        level = None
        for encoder, _ in models:
            try:
                trial = Trial.of(encoder, task, settings)
            except NoTimeAxisError as error:
                log(f"{task.name}: {error}")
                continue
            if not task_rows:
                task_rows.append(trial.chance_row())
                level = trial.chance_level() if settings.check else None
            _log_failures(trial, log)
            row = trial.row(level)
            task_rows.append(row)
            _log_row(row, level, log)
        _log_unequal_tests(task_rows, log)
        rows += task_rows
        save(rows)
    return rows


def _log_failures(trial: Trial, log: Callable[[str], None]) -> None:
    failures = trial.features.failures
    if failures:
        what = f"{len(failures)} clips that cannot be read, the first: {failures[0]}"
        log(f"{trial.task.name}: {trial.encoder.name} goes without {what}")


def _log_row(row: dict, level: float | None, log: Callable[[str], None]) -> None:
    parts = []
    for name, probe in row["probes"].items():
        score = probe["scores"][row["primary"]]
        parts.append(f"{name} {score['mean']:.3f} ± {score['std']:.3f}")
    log(f"{row['task']:12} {row['model']:24} {row['primary']}: {', '.join(parts)}  {row['seconds']:.0f} s")
    for name, probe in row["probes"].items():
        if not probe.get("near_chance", True):
            log(f"{row['task']}: {row['model']}, {name}: above the chance of {level:.3f}, which it should not be.")


def _log_unequal_tests(task_rows: Sequence[dict], log: Callable[[str], None]) -> None:
    tested = {row["clips"]["test"] for row in task_rows}
    if len(tested) > 1:
        task = task_rows[0]["task"]
        log(f"{task}: not all are scored on the same test clips, but on {min(tested)} to {max(tested)}.")
