"""The models, and all that an exported Hub folder may hold; nothing else."""

from importlib.metadata import PackageNotFoundError, version


OLDEST_TRANSFORMERS = "5.0"  # on which everything works (docs/versions.md)
TOO_OLD = f"MuQ needs transformers {OLDEST_TRANSFORMERS} or newer, and {{}} is installed: pip install --upgrade transformers"


def _check_transformers() -> None:
    """Raises ImportError before a module here asks an old transformers for names that it lacks."""
    try:
        found = version("transformers")
    except PackageNotFoundError:  # no package that pip knows: its import will tell
        return
    if int(found.split(".")[0]) < int(OLDEST_TRANSFORMERS.split(".")[0]):
        raise ImportError(TOO_OLD.format(found))


_check_transformers()
