"""The page of all cells, docs/cells.md, made of their docstrings and of one measured result.

python -m benchmarks.gallery benchmarks/results/2026-11-family/results.json
"""

import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import lstm_jax as lj
from benchmarks.report import table

PAGE = Path(__file__).parent.parent / "docs" / "cells.md"
ORDER: dict[str, tuple[Any, ...]] = {
    "The three that everybody has": (lj.LSTM, lj.GRU, lj.Elman, lj.IRNN),
    "Relatives of the LSTM": (
        lj.PeepholeLSTM,
        lj.FullGateLSTM,
        lj.MemoryBlockLSTM,
        lj.ProjectedLSTM,
        lj.LayerNormLSTM,
        lj.MultiplicativeLSTM,
        lj.SLSTM,
        lj.JANET,
    ),
    "Relatives of the GRU": (lj.LayerNormGRU, lj.MGU, lj.MUT1, lj.MUT2, lj.MUT3, lj.LightGRU),
    "Relatives of the Elman network": (lj.IndRNN, lj.SCRN),
    "Without a loop": (lj.MinLSTM, lj.MinGRU, lj.LRU),
    "Over images": (lj.ConvLSTM, lj.ConvGRU),
    "Over trees": (lj.ChildSumTreeLSTM, lj.NaryTreeLSTM),
    "With a memory": (lj.NTM,),
    "Around any cell": (lj.Zoneout, lj.VariationalDropout, lj.WeightDrop),
}
ASKED = {
    "GRU": ("google/flax#5594",),
    "PeepholeLSTM": ("pytorch/pytorch#630",),
    "ProjectedLSTM": ("pytorch/pytorch#22740", "pytorch/pytorch#46213"),
    "LayerNormLSTM": ("pytorch/pytorch#6760", "pytorch/pytorch#7032"),
    "MGU": ("patrick-kidger/equinox#371",),
    "IndRNN": ("google/flax#4133",),
    "ConvLSTM": ("pytorch/pytorch#1706",),
    "ConvGRU": ("google/flax#3713",),
    "ChildSumTreeLSTM": ("dasguptar/treelstm.pytorch#32", "chainer/chainer#402"),
    "Zoneout": ("pytorch/pytorch#561",),
    "VariationalDropout": ("google/flax#2194", "pytorch/pytorch#37731"),
    "WeightDrop": ("keras-team/keras#8935", "tensorflow/tensorflow#13103"),
}
"""Who asked other libraries for such a cell, or for what ours has."""


def page(result: dict[str, Any], source: str) -> str:
    """The whole page as text; `source` is where the result lies, seen from the page."""
    shape = "batch {}, {} steps, {} inputs, {} units".format(*result["family"][0]["shape"])
    parts = [
        "# The cells\n",
        "Made of the cells' own docstrings by `python -m benchmarks.gallery`. In equations a product of two vectors "
        "goes entry by entry, a prime marks what comes after the step, and y is the output. Parameters and times are "
        f"those of {shape}, with the implementation that a call gets by default on that machine; times are "
        f"[measured]({source}) in the same rounds as the LSTM's, and 1.00 is the LSTM. A PeepholeLSTM "
        "without peepholes runs the LSTM's own program: the numbers are to be trusted as far as its row says 1.00. A "
        "cell is linked to those who asked other libraries for it, where we know of any.\n",
    ]
    for title, cells in ORDER.items():
        parts.append(f"## {title}\n")
        parts += [_section(cell, result["family"]) for cell in cells]
    return "\n".join(parts)


def _section(cell: Any, rows: list[dict]) -> str:
    name = cell.__name__
    text = re.sub(r"(https://[^\s,;)]+)", r"<\1>", inspect.getdoc(cell) or "")
    parts = [f"### {name}\n", text + "\n"]
    if name in ASKED:
        links = ", ".join(f"[{issue}](https://github.com/{issue.replace('#', '/issues/')})" for issue in ASKED[name])
        parts.append(f"Asked for in {links}.\n")
    parts.append(table(measured(name, rows)))
    return "\n".join(parts)


def measured(name: str, rows: list[dict]) -> list[dict]:
    """The rows of the result that are this cell's, forward and training side by side."""
    found: dict[str, dict] = {}
    for row in rows:
        if re.split(r"[ ,.]|\(LSTM", row["cell"])[0] == name:
            own = found.setdefault(row["cell"], {"": row["cell"], "parameters": f"{row['parameters']:,}"})
            own["by"] = f"`{row['implementation']}`"
            own[row["mode"]] = f"{row['times_the_lstm']:.2f}"
    return list(found.values())


def main(path: Path) -> None:
    """Writes the page from a result, aside and then renamed."""
    source = os.path.relpath(path.parent / "report.md", PAGE.parent)
    aside = PAGE.with_suffix(".unfinished")
    aside.write_text(page(json.loads(path.read_text()), source))
    aside.rename(PAGE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
