"""Text files of one's own: plain, in Penn Treebank's form, in CoNLL's columns, and tab-separated pairs."""

from collections.abc import Sequence
from pathlib import Path

from lstm_jax.data.split import PARTS, split_whole

PENN_TREEBANK = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")


def read_utf8(file: Path) -> str:
    """The text of a file, with every line end as a newline.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, or is not UTF-8; says at which byte.
    """
    if not file.is_file():
        raise FileNotFoundError(f"`source`: there is no file {file}")
    content = file.read_bytes()
    if not content:
        raise ValueError(f"`source`: {file} is empty")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        bad, offset = content[error.start], error.start
        raise ValueError(f"`source`: {file} is not UTF-8: byte 0x{bad:02x} at offset {offset}") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def folder_text(folder: Path) -> tuple[str, str, str]:
    """The three parts of a folder, in Penn Treebank's form or of any text files; raises as `read_utf8` does.

    Files and folders whose name begins with a dot are passed over, and so are empty files.
    """
    if any((folder / name).exists() for name in PENN_TREEBANK):
        train, validation, test = (read_utf8(folder / name) for name in PENN_TREEBANK)
        return train, validation, test
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size and not any(p[0] == "." for p in path.relative_to(folder).parts)
    }
    texts = {name: read_utf8(path) for name, path in files.items()}
    try:
        parts = split_whole({name: len(text) for name, text in texts.items()})
    except ValueError as error:
        raise ValueError(f"`source`: {folder}: {error}") from None
    train, validation, test = (joined([texts[name] for name in parts[part]]) for part in PARTS)
    return train, validation, test


def joined(texts: Sequence[str]) -> str:
    """One text of several, each beginning on a line of its own."""
    return "".join(text if text.endswith("\n") or i == len(texts) - 1 else f"{text}\n" for i, text in enumerate(texts))


def file_sentences(file: Path) -> list[tuple[list[str], list[str]]]:
    """Tokens and tags of a file in CoNLL's column form: a token a line, first column word, last column tag.

    A blank line ends a sentence; `-DOCSTART-` lines are passed over. Raises as `read_utf8` does, and:

    Raises:
        ValueError: a line has one column only, or no sentence is found.
    """
    sentences: list[tuple[list[str], list[str]]] = []
    begin = True
    for number, line in enumerate(read_utf8(file).split("\n"), 1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            begin = True
            continue
        if len(columns) < 2:
            raise ValueError(f"`source`: {file}, line {number}: expected a word and a tag, got {line!r}")
        if begin:
            sentences.append(([], []))
            begin = False
        sentences[-1][0].append(columns[0])
        sentences[-1][1].append(columns[-1])
    if not sentences:
        raise ValueError(f"`source`: {file} has no sentence")
    return sentences


def file_pairs(file: Path) -> list[tuple[str, str]]:
    """Source and target of a file with two columns separated by a tab; blank lines are passed over.

    Raises as `read_utf8` does, and:

    Raises:
        ValueError: a line does not have two columns, or there is none.
    """
    pairs = []
    for number, line in enumerate(read_utf8(file).split("\n"), 1):
        if not line.strip():
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise ValueError(f"`source`: {file}, line {number}: expected two columns with a tab between, got {line!r}")
        pairs.append((columns[0], columns[1]))
    if not pairs:
        raise ValueError(f"`source`: {file} has no pair")
    return pairs
