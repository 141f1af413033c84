"""The GGUF file of a repository that has several: the one of a quantisation, or the first of an order. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from crossette.machine import format_memory

ORDER = ("Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "F16", "BF16")
"""The quantisations that are chosen without a wish: the usual one first, then larger ones."""

_QUANTIZATION = re.compile(r"(?:^|[._-])(I?Q\d\w*|TQ\d\w*|MXFP4|BF16|F16|F32)(?=[.-]|$)", re.ASCII | re.IGNORECASE)
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)
_NOT_MODELS = ("mmproj", "imatrix")


def quantization_of(file: str) -> str | None:
    """The quantisation that a file's name ends in, in capitals: Q4_K_M of `m-q4_k_m.gguf`."""
    stem = _PART.sub("", file.rpartition("/")[2]).removesuffix(".gguf")
    found = _QUANTIZATION.findall(stem)
    return found[-1].upper() if found else None


def choose_gguf(sizes: Mapping[str, int | None], wanted: str | None) -> str:
    """The file to take, of `sizes` in bytes by path. Raises ValueError with the reason and the choices."""
    files = [file for file in sizes if _is_model(file)]
    whole = [file for file in files if not _PART.search(file)]
    for quantization in (wanted.upper(),) if wanted else ORDER:
        found = [file for file in whole if quantization_of(file) == quantization]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"several of its files are {quantization}. {_choices(whole, sizes)}")
    if wanted is None and len(whole) == 1:
        return whole[0]
    raise ValueError(_none_found(files, whole, wanted, sizes))


def _none_found(files: list[str], whole: list[str], wanted: str | None, sizes: Mapping[str, int | None]) -> str:
    fits = [file for file in files if wanted is None or quantization_of(file) == wanted.upper()]
    if fits and not set(fits) & set(whole):
        reason = f"{fits[0]} is one part of a model in several files, which must be joined with llama-gguf-split first"
    elif wanted:
        reason = f"none of its files is {wanted.upper()}"
    else:
        reason = "the names of its files do not tell which one is usual"
    return f"{reason}. {_choices(whole, sizes)}"


def _choices(files: list[str], sizes: Mapping[str, int | None]) -> str:
    listed = (f"{file} ({_size(sizes[file])})" for file in sorted(files))
    return f"Its GGUF files: {', '.join(listed) or 'none in one piece'}"


def _size(size: int | None) -> str:
    return "unknown size" if size is None else format_memory(size)


def _is_model(file: str) -> bool:
    name = file.rpartition("/")[2].lower()
    return name.endswith(".gguf") and not any(word in name for word in _NOT_MODELS)
