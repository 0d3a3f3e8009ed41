"""Fixed splits into train, validation and test, the same wherever the content is the same."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

PARTS = ("train", "validation", "test")
_SHARE = 0.05  # of validation and of test


def split_whole(sizes: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Gives every name (of a file, of a topic) whole to one part, by the hash of the name: about 90/5/5 of the sizes.

    In the order of their names' SHA-256, test takes what still fits into 5% of the whole, then validation, and train
    takes the rest. So the parts are close to their shares however much the sizes differ, no document is cut in two,
    and an edited file moves few others. A part that nothing fits into takes the smallest that train has.

    Returns:
        The sorted names of train, validation and test.

    Raises:
        ValueError: there are fewer than three names of a size above 0.
    """
    sizes = {name: size for name, size in sizes.items() if size > 0}
    if len(sizes) < len(PARTS):
        raise ValueError(f"a split into train, validation and test needs three documents or more; got {len(sizes)}")
    limit = _SHARE * sum(sizes.values())
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    held: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name in sorted(sizes, key=_rank):
        part = next((p for p in ("test", "validation") if held[p] + sizes[name] <= limit), "train")
        parts[part].append(name)
        held[part] += sizes[name]
    for part in ("test", "validation"):
        if not parts[part]:
            smallest = min(parts["train"], key=lambda name: (sizes[name], _rank(name)))
            parts["train"].remove(smallest)
            parts[part].append(smallest)
    return {part: tuple(sorted(names)) for part, names in parts.items()}


def split_lines(text: str, held: int = 2) -> list[str]:
    """Cuts one text: first all but the last 5% for each of `held` parts, then these; each may be empty.

    A cut is moved on to the next line end, if there is one.
    """
    cuts = [_line_end(text, round((1 - i * _SHARE) * len(text))) for i in range(held, 0, -1)]
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def hold_out(parts: Mapping[str, Sequence[T]]) -> dict[str, Sequence[T]]:
    """Train, validation and test, where every 20th record of train serves for each part that `parts` lacks."""
    missing = [part for part in PARTS if part not in parts]
    train = parts["train"]
    every = round(1 / _SHARE)
    held = {part: train[i::every] for i, part in enumerate(missing)}
    rest = [record for i, record in enumerate(train) if i % every >= len(missing)]
    return {**parts, **held, "train": rest}


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _line_end(text: str, position: int) -> int:
    """The position after the first newline at `position - 1` or later; without one, `position`."""
    return text.find("\n", max(position - 1, 0)) + 1 or position
