"""Vectors of texts and sounds in the form of OpenAI's embeddings endpoint, for clients that exist already."""

import base64
import binascii
import json
import tempfile

import numpy as np
from fastapi import APIRouter, HTTPException, Request
from pydantic import ValidationError

from ..checkpoints import short_name
from . import answers
from .library import Library
from .query_encoder import mean_vector
from .uploads import UploadLimits, body_chunks, check_no_text
from .work_queue import WorkQueue


MAX_INPUTS = 256
SCHEMA = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": answers.EmbeddingRequest.model_json_schema()}}}
}


def embeddings_router(library: Library, queue: WorkQueue, limits: UploadLimits) -> APIRouter:
    """`POST /embed`, also as `/embeddings` and `/v1/embeddings`, where OpenAI's clients look for it."""
    router = APIRouter()

    async def embed(request: Request) -> answers.Embeddings:
        """Texts and base64 audio → vectors of length 1 in one space: their products are cosines.

        A sound is {"type": "input_audio", "input_audio": {"data": BASE64, "format": "wav"}} or a "data:audio/…;base64," string.
        """
        body = b"".join([chunk async for chunk in body_chunks(request, limits)])
        try:
            asked = answers.EmbeddingRequest.model_validate(json.loads(body))
        except (ValueError, ValidationError, RecursionError) as error:
            first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise HTTPException(422, f'the body must be JSON like {{"input": ["calm piano"]}}: {first}.') from None
        inputs = asked.input if isinstance(asked.input, list) else [asked.input]
        if not 1 <= len(inputs) <= MAX_INPUTS:
            raise HTTPException(422, f"`input` takes 1 to {MAX_INPUTS} items, got {len(inputs)}.")
        if asked.dimensions not in (None, library.collection.vectors.shape[1]):
            raise HTTPException(422, f"the vectors have {library.collection.vectors.shape[1]} dimensions, no other number.")
        return await queue.run(_embed, library, inputs, asked.encoding_format, limits.max_audio_seconds)

    router.add_api_route("/embed", embed, methods=["POST"], openapi_extra=SCHEMA)
    for path in ("/embeddings", "/v1/embeddings"):
        router.add_api_route(path, embed, methods=["POST"], include_in_schema=False)
    return router


def _embed(library: Library, inputs: list, encoding: str, max_seconds: float) -> answers.Embeddings:
    sounds = {index: sound for index, item in enumerate(inputs) if (sound := _sound(item)) is not None}
    texts = [item for index, item in enumerate(inputs) if index not in sounds]
    text_vectors = iter(library.encoder.texts(texts) if texts else ())
    data = []
    for index in range(len(inputs)):
        vector = _embed_sound(library, sounds[index], max_seconds) if index in sounds else next(text_vectors)
        numbers = base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding == "base64" else vector.tolist()
        data.append(answers.Embedding(index=index, embedding=numbers))
    tokens = library.encoder.count_tokens(texts) if texts else 0
    usage = answers.Usage(prompt_tokens=tokens, total_tokens=tokens)
    return answers.Embeddings(data=data, model=short_name(library.encoder.name), usage=usage)


def _sound(item: str | answers.AudioItem) -> bytes | None:
    """The bytes of an item that is a sound. Raises ValueError for what is no base64."""
    if isinstance(item, str):
        if not item.startswith("data:audio/"):
            return None
        data = item.partition(",")[2]
    else:
        data = item.input_audio.get("data", "")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a sound must be the base64 of an audio file: {error}.") from None


def _embed_sound(library: Library, data: bytes, max_seconds: float) -> np.ndarray:
    check_no_text(data[:1024])
    with tempfile.NamedTemporaryFile(prefix="upload.") as file:
        file.write(data)
        file.flush()
        return mean_vector(*library.encoder.audio(file.name, max_seconds))
