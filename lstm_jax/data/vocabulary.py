"""From text to token ids and back: bytes, characters or words."""

import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lstm_jax import checks

Unit = Literal["byte", "character", "word"]

END = "<eos>"  # the token that a newline is, in words
_UNKNOWN = {"character": "\N{REPLACEMENT CHARACTER}", "word": "<unk>"}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens of a text, by falling count; equal and hashed by content.

    - Bytes are their own ids, 0 to 255, of UTF-8; none is unknown.
    - Characters are Unicode code points; the unknown one is U+FFFD.
    - Words are parted by white space, and a newline is the word `<eos>`, in the manner of Penn Treebank; the unknown
      word is `<unk>`.

    A text that has the unknown token itself, as Penn Treebank does, keeps it in its place; otherwise it comes last.

    References:
        Mikolov, Karafiat, Burget, Cernocky & Khudanpur, "Recurrent neural network based language model", Interspeech
        2010: the files of Penn Treebank in the form that words are read in here.
    """

    unit: Unit
    tokens: tuple[str, ...]  # of bytes: the 256 characters of Latin-1
    counts: tuple[int, ...]  # in the text that it was made of; of the unknown token, what it stood for there

    def __post_init__(self):
        checks.one_of("unit", self.unit, ("byte", "character", "word"))
        if len(self.tokens) != len(self.counts) or len(set(self.tokens)) != len(self.tokens):
            raise checks.fail("tokens", "distinct tokens with a count each", f"{len(self.tokens)}, {len(self.counts)}")
        if self.unit != "byte" and _UNKNOWN[self.unit] not in self.tokens:
            raise checks.fail("tokens", f"{_UNKNOWN[self.unit]!r} among them", f"{len(self.tokens)} tokens without it")

    @classmethod
    def of(
        cls, text: str | bytes | Sequence[str], unit: Unit = "character", size: int | None = None, least: int = 1
    ) -> "Vocabulary":
        """The vocabulary of a text: most frequent first, and by code point where counts are the same.

        Args:
            text: a text, or a list of characters or words, which are taken as they are; bytes for bytes.
            unit: what a token is.
            size: the most tokens, the unknown one included; the rarest are left out. None is no limit.
            least: tokens with a smaller count are left out.

        Raises:
            ValueError: the text is empty, or `size` or `least` is given for bytes or out of range.
        """
        checks.one_of("unit", unit, ("byte", "character", "word"))
        if size is not None:
            checks.positive_int("size", size, 2)
        checks.positive_int("least", least)
        found: Counter[Any] = Counter(_bytes(text).tolist() if unit == "byte" else _split(text, unit))
        if not found:
            raise checks.fail("text", "at least one token", "none")
        if unit == "byte":
            if size is not None or least != 1:
                raise checks.fail("unit", "characters or words with `size` or `least`", "'byte'")
            return cls("byte", tuple(map(chr, range(256))), tuple(found[i] for i in range(256)))
        unknown = _UNKNOWN[unit]
        total, own = found.total(), found.pop(unknown, None)

        def order(entry: tuple[str, int]) -> tuple[int, str]:
            return -entry[1], entry[0]

        kept = sorted((entry for entry in found.items() if entry[1] >= least), key=order)
        kept = kept[: None if size is None else size - 1]
        kept.append((unknown, total - sum(count for _, count in kept)))
        if own is not None:
            kept.sort(key=order)
        tokens, counts = zip(*kept, strict=True)
        return cls(unit, tokens, counts)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def unknown(self) -> int | None:
        """The id of the unknown token; None for bytes."""
        return None if self.unit == "byte" else self._ids[_UNKNOWN[self.unit]]

    def encode(self, text: str | bytes | Sequence[str]) -> np.ndarray:
        """Token ids `[n]` int32 of a text, or of a list of characters or words."""
        if self.unit == "byte":
            return _bytes(text).astype(np.int32)
        unknown = self.unknown
        if self.unit == "character" and isinstance(text, str):
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            distinct, places = np.unique(points, return_inverse=True)
            ids = [self._ids.get(chr(point), unknown) for point in distinct.tolist()]
            return np.asarray(ids, np.int32)[places]
        return np.asarray([self._ids.get(token, unknown) for token in _split(text, self.unit)], np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of token ids `[n]`. Words come with one blank between, `<eos>` as a newline; bytes that are no
        UTF-8 as U+FFFD.

        Raises:
            ValueError: `ids` are not integers from 0 to `len(self) - 1`.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
            raise checks.fail("ids", "integers of shape [n]", checks.describe(array))
        if array.size and (array.min() < 0 or array.max() >= len(self)):
            raise checks.fail("ids", f"from 0 to {len(self) - 1}", f"{array.min()} to {array.max()}")
        if self.unit == "byte":
            return array.astype(np.uint8).tobytes().decode("utf-8", "replace")
        tokens = [self.tokens[i] for i in array.tolist()]
        if self.unit == "character":
            return "".join(tokens)
        lines = " ".join("\n" if token == END else token for token in tokens)
        return lines.replace(" \n", "\n").replace("\n ", "\n")

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes a JSON file, whole or not at all."""
        file = Path(file)
        content = json.dumps(dataclasses.asdict(self), ensure_ascii=False)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        new.write_text(content, "utf-8", "surrogatepass")
        new.replace(file)

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is something else.
        """
        try:
            content = json.loads(Path(file).read_text("utf-8", "surrogatepass"))
            return cls(content["unit"], tuple(content["tokens"]), tuple(content["counts"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"`file`: {os.fspath(file)} is no vocabulary ({type(error).__name__})") from None

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}


def _split(text: str | bytes | Sequence[str], unit: str) -> Sequence[str]:
    if isinstance(text, bytes):
        raise checks.fail("text", f"a string for the unit {unit}", "bytes")
    if isinstance(text, str) and unit == "word":
        return text.replace("\n", f" {END} ").split()
    return text


def _bytes(text: str | bytes | Sequence[str]) -> np.ndarray:
    if not isinstance(text, (str, bytes)):
        raise checks.fail("text", "a string or bytes", type(text).__name__)
    return np.frombuffer(text.encode("utf-8") if isinstance(text, str) else text, np.uint8)
