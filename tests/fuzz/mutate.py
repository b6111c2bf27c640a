"""Mutations of valid inputs: of their bytes, or of their structure (trees, lines, archives, records)."""

import io
import json
import math
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from stream.files.arrays import read_array

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]

NUMBERS = [0, 1, -1, 2, 17, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.5, -0.5, 1e-320, 1e38, 3.5e38, 1e308, -1e308, math.nan, math.inf, -math.inf]
FLOATS_32 = [0.0, -1.0, 0.5, 1e9, 1e38, -1e38, 1e-40, math.nan, math.inf, -math.inf]
TEXTS = ["", "\0", "x" * 300, "/", "+", "#", "é", "\u202e", "..", "${HOME}", "none", "h36m17", "lost", "1e3"]
MAGIC = [
    struct.pack(form, number & mask)
    for number in NUMBERS
    for form, mask in (("<Q", 2**64 - 1), (">I", 2**32 - 1), ("<H", 2**16 - 1))
]
MAX_GROWTH = 4096  # bytes that one mutation adds
DTYPES = ["<f4", ">f4", "<f8", "<f2", "<i8", "u1", "i1", "<U3", "S5", "?", "<c8", "<M8[ns]", "V7", "<U0"]


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Flip, remove, repeat, insert or overwrite a few bytes, or join the halves of two inputs."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(result) + 1)
        count = min(MAX_GROWTH, rng.choice((1, 1, 2, 4, 8, 64, 1024)))
        match rng.randrange(7):
            case 0 if result:
                result[min(at, len(result) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del result[at : at + count]
            case 2:
                result[at:at] = result[at : at + count]
            case 3:
                result[at:at] = rng.randbytes(min(count, 64))
            case 4:
                magic = rng.choice(MAGIC)
                result[at : at + len(magic)] = magic
            case 5:
                del result[at:]
            case _:
                other = rng.choice(others)
                result[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(result)


def mutate_tree(rng: random.Random, tree: Any) -> Any:
    """A copy of plain values with one to three places changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = _mutate_node(rng, tree, tree)
    return tree


def _mutate_node(rng: random.Random, node: Any, root: Any) -> Any:
    """Walk down to a random place and change it there."""
    if isinstance(node, dict) and node and rng.random() < 0.85:
        key = rng.choice(list(node))
        match rng.randrange(8):
            case 0:
                return {other: value for other, value in node.items() if other != key}
            case 1:
                return {**node, rng.choice(TEXTS): _value(rng, root)}
            case 2 if len(node) > 1:
                return {**node, key: node[rng.choice(list(node))]}
            case _:
                return {**node, key: _mutate_node(rng, node[key], root)}
    if isinstance(node, list) and node and rng.random() < 0.85:
        at = rng.randrange(len(node))
        match rng.randrange(6):
            case 0:
                return node[:at] + node[at + 1 :]
            case 1:
                return node[:at] + [node[at]] * rng.choice((2, 3, 300)) + node[at:]
            case _:
                return [*node[:at], _mutate_node(rng, node[at], root), *node[at + 1 :]]
    if isinstance(node, bytes) and rng.random() < 0.8:
        floats = np.frombuffer(node[: len(node) // 4 * 4], "<f4").copy()
        if floats.size and rng.random() < 0.6:
            floats[rng.randrange(floats.size)] = rng.choice(FLOATS_32)
            return floats.tobytes()
        return mutate_bytes(rng, node, [node])
    return _value(rng, root)


def _value(rng: random.Random, root: Any) -> Any:
    match rng.randrange(12):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2 | 3:
            return rng.choice(NUMBERS)
        case 4 | 5:
            return rng.choice(FLOATS)
        case 6 | 7:
            return rng.choice(TEXTS)
        case 8:
            return rng.choice(([], {}, [[]], [None], {"": None}))
        case 9:
            return rng.randbytes(rng.choice((0, 1, 3, 4, 12, 204, 2000)))
        case 10:
            nested: Any = rng.choice(NUMBERS)
            for _ in range(rng.choice((3, 30, 600))):
                nested = [nested] if rng.random() < 0.5 else {"a": nested}
            return nested
        case _:
            return root


def msgpack(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A changed MessagePack document, or changed bytes."""
    if rng.random() < 0.7:
        try:
            return msgspec.msgpack.encode(mutate_tree(rng, msgspec.msgpack.decode(data)))
        except (RecursionError, ValueError, OverflowError):
            pass
    return mutate_bytes(rng, data, others)


def as_json(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A changed JSON document, also with NaN, Infinity and long numbers, or changed bytes."""
    if rng.random() < 0.7:
        try:
            text = json.dumps(mutate_tree(rng, json.loads(data)), default=lambda value: value.hex())
            return text.replace(str(2**53), "9" * rng.choice((20, 400, 5000)), 1).encode()
        except (RecursionError, ValueError):
            pass
    return mutate_bytes(rng, data, others)


def lines(one_line: Mutation) -> Mutation:
    """Lines changed by `one_line`, removed, repeated, exchanged or cut off."""

    def mutate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
        parts = data.splitlines(keepends=True)
        at = rng.randrange(len(parts))
        match rng.randrange(6):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[rng.randrange(len(parts))])
            case 2:
                return mutate_bytes(rng, data, others)
            case _:
                parts[at] = one_line(rng, parts[at], parts) + b"\n"
        return b"".join(parts)

    return mutate


def numpy_array(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A changed `.npy` file: another dtype, shape or value, a changed header, or changed bytes."""
    try:
        array = read_array(io.BytesIO(data), len(data))
    except Exception:  # of the inputs that failed before, not all are arrays
        return mutate_bytes(rng, data, others)
    match rng.randrange(6):
        case 0:
            header = data.index(b"{")
            end = data.index(b"\n", header)
            changed = _replaced_number(rng, data[header:end])
            return data[:header] + changed.ljust(end - header)[: end - header] + data[end:]
        case 1:
            return mutate_bytes(rng, data, others)
        case 2:
            array = np.zeros(array.shape, rng.choice(DTYPES))
        case 3:
            shape = list(array.shape)
            if shape:
                shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 3, 5))
            array = np.resize(array, rng.choice((tuple(shape), (), (*shape, 1), tuple(shape[1:]))))
        case _ if array.size and array.dtype.kind in "fiu":
            array = array.copy()
            values = FLOATS if array.dtype.kind == "f" else [0, 1, -1, 100, 2**31 - 1, 2**62]
            with np.errstate(all="ignore"):
                array.flat[rng.randrange(array.size)] = np.array(rng.choice(values)).astype(array.dtype)
        case _:
            array = np.array(rng.choice(TEXTS))
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _replaced_number(rng: random.Random, text: bytes) -> bytes:
    """Text with one of its numbers exchanged, or with changed bytes."""
    digits = [at for at, byte in enumerate(text) if 48 <= byte <= 57]
    if not digits or rng.random() < 0.3:
        return mutate_bytes(rng, text, [text])
    at = rng.choice(digits)
    return text[:at] + str(rng.choice(NUMBERS)).encode() + text[at + 1 :]


def archive(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A changed zip of `.npy` files: changed, missing, repeated or renamed members, or changed bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(rng, data, others)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except Exception:  # of the inputs that failed before, not all are archives
        return mutate_bytes(rng, data, others)
    name = rng.choice(list(members))
    match rng.randrange(8):
        case 0:
            del members[name]
        case 1:
            members[rng.choice(list(members))] = members[name]
        case 2:
            members[rng.choice((*TEXTS, "x.npy", "../x.npy"))] = members[name]
        case _:
            members[name] = numpy_array(rng, members[name], list(members.values()))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name or "x"), content)
    zipped = result.getvalue()
    return zipped if rng.random() < 0.9 else mutate_bytes(rng, zipped, others)


def text(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Text with lines or words exchanged, numbers replaced, or with changed bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data, others)
    parts = data.split(b"\n" if rng.random() < 0.4 else b" ")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(parts))
        match rng.randrange(6):
            case 0:
                parts[at], parts[-at] = parts[-at], parts[at]
            case 1 if len(parts) > 1:
                del parts[at]
            case 2:
                parts[at] = _replaced_number(rng, parts[at])
            case 3:
                parts[at] += rng.choice(TEXTS + [str(value) for value in NUMBERS + FLOATS]).encode()
            case 4:
                parts[at] = (rng.choice(WORDS) * rng.choice((1, 1, 1, 3, 400)))[:MAX_GROWTH]
            case _:
                parts.insert(at, rng.choice(parts))
    return (b"\n" if b"\n" in data and len(parts) < data.count(b" ") else b" ").join(parts)


WORDS = [
    b"[",
    b"{",
    b"- ",
    b": ",
    b"&a ",
    b"*a",
    b"!!python/name:os.system",
    b"!!binary eA==",
    b"2001-99-99",
    b"<<: ",
    b"? ",
    b"1:2:3",
    b"0x",
    b"~",
    b"\t",
    b"---\n",
    b"...",
    b"|\n",
    b"'",
    b'"',
    b"%TAG ! x\n",
    b"1e999",
    b"9" * 5000,
    b"null",
    b"true",
    b".nan",
    b".inf",
    b"!!timestamp 0",
    b"!!set {a}",
    b"!!omap [a: b]",
]


def records(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """An MCAP file with changed, missing, repeated or exchanged records, or with changed bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data, others)
    parts, at = [], 8
    while at + 9 <= len(data) - 8:
        length = int.from_bytes(data[at + 1 : at + 9], "little")
        if length > len(data):
            break
        parts.append(data[at : at + 9 + length])
        at += 9 + length
    if not parts:
        return mutate_bytes(rng, data, others)
    for _ in range(rng.choice((1, 1, 2))):
        index = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0 if len(parts) > 1:
                del parts[index]
            case 1:
                parts.insert(index, rng.choice(parts))
            case 2:
                parts[index] = mutate_bytes(rng, parts[index], parts)
            case _:
                body = mutate_bytes(rng, parts[index][9:], [part[9:] for part in parts])
                parts[index] = parts[index][:1] + len(body).to_bytes(8, "little") + body
    return data[:8] + b"".join(parts) + data[-8:]


def safetensors(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A changed safetensors file: its header as a tree, the spec within it as a tree, or bytes."""
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        return mutate_bytes(rng, data, others)
    metadata = header.get("__metadata__", {})
    choice = rng.random()
    if choice < 0.5 and isinstance(metadata, dict) and "poselift.spec" in metadata:
        metadata["poselift.spec"] = as_json(rng, metadata["poselift.spec"].encode(), [b"{}"]).decode("latin1")
    elif choice < 0.75:
        header = mutate_tree(rng, header)
    else:
        return mutate_bytes(rng, data, others)
    try:
        encoded = json.dumps(header, default=lambda value: value.hex()).encode()
    except (RecursionError, ValueError):
        return mutate_bytes(rng, data, others)
    return len(encoded).to_bytes(8, "little") + encoded + data[8 + length :]
