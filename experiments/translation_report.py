"""Tables and pictures of `translation`."""

from typing import Any

import numpy as np

from experiments.report import Runs, figure

COLOURS = {"forward": "#7f7f7f", "reversed": "#d1701c", "attention": "#0b5fa5"}


def rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {
            "source": run["variant"],
            "search": run["search"],
            "exactly right": f"{run['exact']:.3f}",
            "BLEU": f"{run['bleu']:.2f}",
            "parameters": f"{run['parameters']:,}",
            "seconds to train": f"{run['seconds']:.0f}",
        }
        for run in runs
    ]


def examples(runs: Runs, corpus: Any, count: int = 8) -> list[dict[str, str]]:
    """Some of the test, those first that a network got wrong, by greedy search."""
    greedy = [run for run in runs if run["search"] == "greedy"]
    right = corpus.parts.test.targets
    order = sorted(range(len(right)), key=lambda i: all(run["found"][i] == right[i] for run in greedy))
    half = max(1, count // 2)
    return [
        {
            "source": cell(corpus.parts.test.sources[i]),
            "right": cell(right[i]),
            **{run["variant"]: cell(run["found"][i]) for run in greedy},
        }
        for i in dict.fromkeys(order[:half] + order[::-1][:half])
    ]


def cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def plot(runs: Runs, corpus: Any, weights: Any) -> Any:
    """Exact matches by the source's length, and what attention reads."""
    shape = (1, 2) if weights else (1, 1)
    made, panels = figure(
        *shape, size=(13, 4.2) if weights else (6, 4.2), **({"width_ratios": (1, 2)} if weights else {})
    )
    lengths = np.array([len(corpus.source.encode(text)) for text in corpus.parts.test.sources])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, 6)).astype(int))
    bins = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    for run in runs:
        if run["search"] == "greedy":
            right = np.array([a == b for a, b in zip(run["found"], corpus.parts.test.targets, strict=True)])
            shown = [(lengths[bins == b].mean(), right[bins == b].mean()) for b in np.unique(bins)]
            label = f"{run['variant']}: {run['exact']:.3f}"
            panels[0].plot(*zip(*shown, strict=True), color=COLOURS[run["variant"]], marker="o", label=label)
    panels[0].set(xlabel="tokens of the source", ylabel="exactly right", ylim=(None, 1.02))
    panels[0].legend()
    if weights:
        source, target, read = weights
        panels[1].imshow(read, cmap="Blues", aspect="auto", vmin=0, vmax=1)
        panels[1].set_xticks(range(len(source)), source)
        panels[1].set_yticks(range(len(target)), target)
        panels[1].grid(visible=False)
        panels[1].set(title="What attention reads (across) to write each token (down)")
    return made
