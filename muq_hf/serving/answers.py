"""The JSON that the API gives, as models: they are also its documentation in /docs."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str
    model: str
    songs: int
    rows: int
    seconds: float = Field(description="of music in the collection")
    generation: int = Field(description="counts how often the collection has changed since the start")
    maps: list[str] = Field(description="methods that /map takes")
    max_upload_bytes: int


class Song(BaseModel):
    id: int
    title: str
    folder: str = Field(description="relative to the folder that holds all songs")
    file: str = Field(description="name of the file, without its folder")
    duration: float = Field(description="seconds")
    tags: list[str] = Field(description="words that stand out, from high to low")
    credit: str | None = Field(None, description="title, author and licence, where attribution.jsonl beside the table names them")


class Songs(BaseModel):
    total: int
    songs: list[Song]


class SongHit(BaseModel):
    song: Song
    cosine: float
    start: float = Field(description="of the part that was found (s); of the song by default")
    end: float
    copies: list[Song] = Field(description="near-duplicates of the song that are folded into this hit")


class Found(BaseModel):
    hits: list[SongHit]
    milliseconds: float = Field(description="on the server, without waiting")


class FoundByAudio(Found):
    duration: float = Field(description="of the uploaded music that was looked at (s)")
    tags: list[str]


class Tags(BaseModel):
    labels: list[str]
    spans: list[tuple[float, float]] = Field(description="start and end of each part (s)")
    cosines: list[list[float]] = Field(description="per part and label")
    standing_out: list[list[float]] = Field(description="the same in deviations from what is usual in the collection")


class Facet(BaseModel):
    name: str
    songs: int


class Facets(BaseModel):
    tags: list[Facet]
    folders: list[Facet]


class Waveform(BaseModel):
    peaks: list[int] = Field(description="0 to 255, relative to the loudest")


class Similarity(BaseModel):
    spans: list[tuple[float, float]]
    cosines: list[list[float]]


class SongMap(BaseModel):
    method: str
    songs: int
    points: str = Field(
        description="base64 of little-endian uint16 x, y for every song in turn; 65535 is the right or upper edge"
    )
    tag: str = Field(description="base64 of uint16 for every song: place of its first tag in `tags`")
    folder: str = Field(description="base64 of uint16 for every song: place of its folder in `folders`")
    tags: list[str]
    folders: list[str]


class AudioItem(BaseModel):
    """A sound in the form of OpenAI's messages."""

    type: Literal["input_audio"]
    input_audio: dict[str, str] = Field(description='{"data": base64 of a file, "format": "wav", "mp3", …}')


class EmbeddingRequest(BaseModel):
    """As OpenAI's `POST /v1/embeddings` takes it; a string that begins with "data:audio/" is a sound too."""

    input: str | list[str | AudioItem] | AudioItem
    model: str | None = Field(None, description="is taken and not looked at: a server has one model")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Any = Field(description='numbers, or with encoding_format "base64" float32, little-endian')


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
