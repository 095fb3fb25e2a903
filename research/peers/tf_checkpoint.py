"""TensorFlow checkpoints (format V2) without TensorFlow: `.index` is a LevelDB table of protocol buffers, `.data` raw tensors."""

import struct

import numpy as np


FOOTER_BYTES = 48
TABLE_MAGIC = 0xDB4775248B80FB57
BLOCK_UNCOMPRESSED = 0
FLOAT, INT32, INT64 = 1, 3, 9  # TensorFlow's DataType
DTYPES = {FLOAT: "<f4", INT32: "<i4", INT64: "<i8"}


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Contents of `.index` and `.data-00000-of-00001` → variables by name. Raises ValueError for other formats."""
    tensors = {}
    for name, value in _table(index):
        if name:  # the first entry, without a name, is the header
            tensors[name.decode()] = _tensor(value, data)
    return tensors


def _table(content: bytes):
    """Key and value pairs of a LevelDB table in order."""
    footer = content[-FOOTER_BYTES:]
    if struct.unpack("<Q", footer[-8:])[0] != TABLE_MAGIC:
        raise ValueError("this is no index of a TensorFlow checkpoint: its last eight bytes are wrong.")
    _, position = _varint(footer, 0)  # the handle of the meta index, two numbers, is not needed
    _, position = _varint(footer, position)
    for _, handle in _block(content, *_handle(footer, position)):
        yield from _block(content, *_handle(handle, 0))


def _handle(content: bytes, position: int) -> tuple[int, int]:
    offset, position = _varint(content, position)
    size, _ = _varint(content, position)
    return offset, size


def _block(content: bytes, offset: int, size: int):
    """Entries share the beginning of their key with the entry before."""
    block, kind = content[offset : offset + size], content[offset + size]
    if kind != BLOCK_UNCOMPRESSED:
        raise ValueError(f"compressed checkpoint tables (kind {kind}) are not read.")
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 * (num_restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _tensor(entry: bytes, data: bytes) -> np.ndarray:
    """BundleEntryProto: 1 dtype, 2 shape (2 dim (1 size)), 4 offset, 5 size."""
    fields = {number: value for number, value in _fields(entry)}
    sizes = [dict(_fields(dim)).get(1, 0) for number, dim in _fields(fields.get(2, b"")) if number == 2]
    if fields.get(1) not in DTYPES:
        raise ValueError(f"tensors of TensorFlow's type {fields.get(1)} are not read.")
    offset = fields.get(4, 0)
    return np.frombuffer(data[offset : offset + fields[5]], dtype=DTYPES[fields[1]]).reshape(sizes)


def _fields(message: bytes):
    """(number, int or bytes) of the fields of a protocol buffer."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(message, position)
        elif wire == 2:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif wire == 5:
            value, position = message[position : position + 4], position + 4
        else:
            raise ValueError(f"protocol buffers with wire type {wire} are not read.")
        yield number, value


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
