"""Bodies of requests, bounded in size and time, as files."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request

from ..audio import AUDIO_SUFFIXES


HANG_UP = {"Connection": "close"}  # what is still to come is not read


@dataclass(frozen=True)
class UploadLimits:
    """max_bytes of a body; max_seconds that its bytes may take to arrive; max_audio_seconds of music that are looked at."""

    max_bytes: int = 64 * 2**20
    max_seconds: float = 30.0
    max_audio_seconds: float = 600.0


async def body_chunks(request: Request, limits: UploadLimits) -> AsyncIterator[bytes]:
    """The body as it comes. Raises HTTPException 413 beyond `max_bytes` (at once if the header says so) and 408 for late ones."""
    message = f"The upload is larger than {limits.max_bytes / 2**20:g} MB, the most that is taken here."
    too_large = HTTPException(413, message, headers=HANG_UP)
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.max_bytes:
        raise too_large
    received, stream, clock = 0, request.stream(), asyncio.get_running_loop().time
    deadline = clock() + limits.max_seconds
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), deadline - clock())
        except StopAsyncIteration:
            return
        except TimeoutError:
            message = f"The upload took longer than {limits.max_seconds:g} s."
            raise HTTPException(408, message, headers=HANG_UP) from None
        received += len(chunk)
        if received > limits.max_bytes:
            raise too_large
        yield chunk


@contextlib.asynccontextmanager
async def uploaded_audio(request: Request, limits: UploadLimits, name: str = "") -> AsyncIterator[Path]:
    """The body as a file that disappears afterwards. Of `name` nothing but an audio suffix is used.

    Raises HTTPException as above, 400 for an empty body, and 415 for text: playlists would make a decoder open other files.
    """
    suffix = Path(name).suffix.lower()
    suffix = suffix if suffix in AUDIO_SUFFIXES else ""
    with tempfile.NamedTemporaryFile(prefix="upload.", suffix=suffix) as file:
        head = b""
        async for chunk in body_chunks(request, limits):
            if len(head) < 1024:
                head += chunk[:1024]
            file.write(chunk)
        file.flush()
        check_no_text(head)
        yield Path(file.name)


def check_no_text(head: bytes) -> None:
    """Raises HTTPException for the beginning of a file that is empty or is text."""
    if not head:
        raise HTTPException(400, "The upload is empty: send the bytes of an audio file.")
    if re.fullmatch(rb"[\t\r\n\x20-\x7e\xef\xbb\xbf]*", head[:1024]):
        raise HTTPException(415, "The upload is text, not audio.")
