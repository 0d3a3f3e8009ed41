"""Tables, pictures and the coloured page of `tagging`."""

import html
import os
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from experiments.report import Runs, by_variant, figure, spread

COLOURS = {
    "most frequent tag": "#b0b0b0",
    "LSTM": "#d1701c",
    "LSTM, CRF": "#8c4a10",
    "bidirectional LSTM": "#6fa8dc",
    "bidirectional LSTM, CRF": "#0b5fa5",
}
MODELS = tuple(COLOURS)[1:]
INKS = ("#8a8a8a", "#1f3f77", "#7b2d8b", "#8a5a00", "#3f3f3f", "#1d7a34", "#a04000", "#006d77", "#b0307a")


def model_rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {
            "model": name,
            "tokens right": spread([run["accuracy"] for run in own], ".4f"),
            "whole spans": spread([run["spans"] for run in own], ".4f"),
            "validation": spread([run["validation"] for run in own], ".4f"),
            "parameters": f"{own[0]['parameters']:,}",
            "seconds to train, all seeds": f"{own[0]['seconds']:.0f}",
        }
        for name, own in by_variant(runs, "tagging").items()
    ]


def class_rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {"model": name, **{kind: f"{median(run['classes'][kind] for run in own):.3f}" for kind in own[0]["classes"]}}
        for name, own in by_variant(runs, "tagging").items()
    ]


def panels(runs: Runs) -> Any:
    """Errors of tokens and spans, F1 of every class, and where in an example the errors are."""
    made, (left, middle, right) = figure(1, 3, size=(15, 4.6), width_ratios=(1, 1.3, 1.1))
    variants = by_variant(runs, "tagging")
    for place, (name, own) in enumerate(variants.items()):
        for i, (kind, marker) in enumerate((("accuracy", "o"), ("spans", "s"))):
            wrong = [100 * (1 - run[kind]) for run in own]
            left.scatter(wrong, [place + 0.16 * (2 * i - 1)] * len(own), color=COLOURS[name], marker=marker, s=34)
            words = f"{median(wrong):.2g}% of {('tokens', 'whole spans')[i]}"
            place_ = (max(wrong), place + 0.16 * (2 * i - 1))
            left.annotate(words, place_, xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)
    left.set_yticks(range(len(variants)), [name.replace(" LSTM", "\nLSTM") for name in variants])
    left.invert_yaxis()
    left.grid(visible=True, axis="x")
    left.set(xscale="log", xlabel="% wrong in unseen text, a mark a seed")
    left.set_xlim(right=left.get_xlim()[1] * 6)
    kinds = list(runs[0]["classes"])
    for i, (name, own) in enumerate(variants.items()):
        heights = [median(run["classes"][kind] for run in own) for kind in kinds]
        places = np.arange(len(kinds)) + 0.16 * (i - (len(variants) - 1) / 2)
        middle.bar(places, heights, 0.15, color=COLOURS[name], label=name)
        errors = np.median([run["errors"] for run in own], 0)
        if name in MODELS:
            step = max(1, len(errors) // 40)
            cut = errors[: len(errors) // step * step].reshape(-1, step).mean(1)
            right.plot(np.arange(len(cut)) * step + step / 2, 100 * cut, color=COLOURS[name], label=name)
    middle.set_xticks(range(len(kinds)), kinds)
    middle.set(ylabel="F1 of each class", ylim=(0, 1.05))
    middle.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    right.set(xlabel="place in the example", ylabel="% wrong there", ylim=(0, None))
    return made


def write_html(file: Path, corpus: Any, shown: dict[str, list[np.ndarray]], between: str) -> None:
    """Writes a page that needs no other file: the first and the last model's tags in colours, side by side."""
    chosen = {name: shown[name] for name in dict.fromkeys((next(iter(shown)), list(shown)[-1]))}
    inks = {name: INKS[i % len(INKS)] for i, name in enumerate(corpus.names)}
    styles = "".join(f".t{i}{{color:{ink}}}" for i, ink in enumerate(inks.values()))
    legend = " ".join(f'<b class="t{i}">{html.escape(name)}</b>' for i, name in enumerate(inks))
    columns = []
    for name, said in chosen.items():
        right = np.concatenate([a == b for a, b in zip(said, corpus.shown.tags, strict=True)])
        text = "\n".join(
            _marked(words, own, truth, corpus.names, between)
            for words, own, truth in zip(corpus.words, said, corpus.shown.tags, strict=True)
        )
        head = f"<h2>{html.escape(name)}: {right.mean():.1%} right</h2>"
        columns.append(f"<section>{head}<pre>{text}</pre></section>")
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Tagged text</title><style>
body{{background:#fff;color:#222;font:15px/1.4 system-ui,sans-serif;margin:1.5em}}
main{{display:flex;flex-wrap:wrap;gap:2em}}
section{{flex:1 1 40em;min-width:0}}
h2{{font-size:1.05em}}
pre{{background:#fafafa;border:1px solid #ddd;padding:.8em;overflow-x:auto;font:13px/1.45 monospace}}
.wrong{{background:#ffd0d0;border-bottom:2px solid #d00000}}
{styles}
</style></head><body>
<p>Text that was never seen in training, in the colours of what the tagger takes it for:
{legend} <span class="wrong">wrong</span> (the truth shows under the pointer)</p>
<main>{"".join(columns)}</main></body></html>
"""
    aside = file.with_name(f".unfinished-{file.name}")
    aside.write_text(page, "utf-8")
    os.replace(aside, file)


def _marked(words: list[str], said: np.ndarray, truth: np.ndarray, names: tuple[str, ...], between: str) -> str:
    """One example: stretches of one tag in one element."""
    pieces = []
    rows = zip(words, said.tolist(), truth.tolist(), strict=True)
    for (own, right), group in groupby(rows, key=lambda row: row[1:]):
        text = html.escape(between.join(word for word, _, _ in group))
        if own == right:
            pieces.append(f'<span class="t{own}">{text}</span>')
        else:
            title = html.escape(f"taken for {names[own]}, is {names[right]}")
            pieces.append(f'<span class="t{own} wrong" title="{title}">{text}</span>')
    return between.join(pieces)
