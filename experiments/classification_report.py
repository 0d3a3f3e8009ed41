"""Tables and pictures of `classification`."""

from statistics import median
from typing import Any

import numpy as np

from experiments.report import Runs, by_variant, figure, spread

COUNTS = "n-grams"
COLOURS = {
    COUNTS: "#9a9a9a",
    "LSTM, last": "#0b5fa5",
    "LSTM, mean": "#d1701c",
    "LSTM, max": "#2f7d4f",
    "bidirectional LSTM, last": "#8a3f9b",
}
SHOWN = 60  # tokens of a snippet in the picture
CANDIDATES = 30  # snippets of each class that the picture chooses from


def length_rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {
            "model": name,
            **{str(n): f"{accuracy:.3f}" for n, accuracy in zip(own[0]["lengths"], _course(own), strict=True)},
        }
        for name, own in by_variant(runs, "classes").items()
    ]


def model_rows(runs: Runs) -> list[dict[str, str]]:
    return [
        {
            "model": name,
            "test accuracy": spread([run["accuracy"] for run in own], ".4f"),
            "validation": spread([run["validation"] for run in own], ".4f"),
            "parameters": f"{own[0]['parameters']:,}",
            "seconds to train, all seeds": f"{own[0]['seconds']:.0f}",
        }
        for name, own in by_variant(runs, "classes").items()
    ]


def confusion_rows(runs: Runs, names: tuple[str, ...]) -> list[dict[str, str]]:
    rows = []
    for name, own in by_variant(runs, "classes").items():
        total = np.sum([run["confusion"] for run in own], 0)
        for truth, counts in zip(names, total, strict=True):
            taken = {f"taken for {guess}": f"{count:,}" for guess, count in zip(names, counts.tolist(), strict=True)}
            rows.append({"model": name, "truth": truth, **taken})
    return rows


def lengths(runs: Runs) -> Any:
    """Share of test texts classed wrong by how much of them was read: a line a model, a dot a seed."""
    made, (left, right) = figure(1, 2, size=(12, 4.4), width_ratios=(1.4, 1))
    variants, read = by_variant(runs, "classes"), runs[0]["lengths"]
    for place, (name, own) in enumerate(variants.items()):
        left.plot(read, 100 * (1 - np.array(_course(own))), color=COLOURS[name], label=name, linewidth=2)
        for run in own:
            left.scatter(read, 100 * (1 - np.array(run["by_length"])), color=COLOURS[name], s=12, zorder=3)
        wrong = [100 * (1 - run["accuracy"]) for run in own]
        right.scatter(wrong, place + np.linspace(-0.3, 0.3, len(own) + 2)[1:-1], color=COLOURS[name], s=30, zorder=3)
        right.vlines(median(wrong), place - 0.3, place + 0.3, color=COLOURS[name], linewidth=2)
    left.set(xscale="log", xlabel="tokens read", ylabel="% of unseen texts classed wrong", ylim=(0, None))
    left.set_xticks(read, [str(n) for n in read])
    left.minorticks_off()
    left.legend()
    right.set_yticks(range(len(variants)), list(variants))
    right.invert_yaxis()
    right.grid(visible=True, axis="x")
    right.set(xlabel=f"% wrong after {read[-1]}", xlim=(0, None))
    return made


def candidates(examples: Any, longest: int) -> Any:
    """The beginnings, all as long, of the first test texts of each class."""
    shown = min(SHOWN, longest)
    chosen = [
        i
        for label in np.unique(examples.labels)
        for i in [j for j in np.flatnonzero(examples.labels == label) if len(examples.tokens[j]) >= shown][:CANDIDATES]
    ]
    return type(examples)([examples.tokens[i][:shown] for i in chosen], examples.labels[chosen])


def when(examples: Any, courses: dict[str, np.ndarray], corpus: Any) -> Any:
    """Probability of the right class after every token, of a median text of each class and of one that takes long.

    `courses` are probabilities `[tokens, texts, classes]`. Which texts is up to the first network; one that takes long
    is the one with the lowest mean among those where it is sure, at .9, in the end.
    """
    labels = np.unique(examples.labels)[:4]
    made, panels = figure(len(labels), 2, size=(16, 2.6 * len(labels)), sharey=True)
    judge = next((course for name, course in courses.items() if name != COUNTS), next(iter(courses.values())))
    own = judge[:, np.arange(len(examples.labels)), examples.labels]  # [tokens, texts]
    for row, label in enumerate(labels):
        of_label = np.flatnonzero(examples.labels == label)
        order = of_label[np.argsort(own[:, of_label].mean(0), kind="stable")]
        sure = [i for i in order if own[-1, i] > 0.9] or list(order)
        chosen = {"a median snippet": order[len(order) // 2], "one that takes long": sure[0]}
        for column, (title, i) in enumerate(chosen.items()):
            axis = panels[2 * row + column]
            for name, course in courses.items():
                axis.plot(course[:, i, label], color=COLOURS[name], label=name, linewidth=1.6)
            tokens = [corpus.vocabulary.tokens[t] for t in examples.tokens[i]]
            drawn = {"\n": "\u21b5", "<eos>": "\u21b5", " ": "\u00b7"}
            signs = [drawn.get(token, token.replace("$", r"\$")) for token in tokens]
            turned = {"rotation": 90, "fontsize": 7} if max(map(len, tokens)) > 1 else {"fontsize": 9}
            axis.set_xticks(range(len(signs)), signs, family="monospace", **turned)
            axis.set(ylim=(-0.03, 1.03), xlim=(-0.5, len(signs) - 0.5))
            axis.set_title(f"{corpus.names[label]}: {title}", fontsize=10, loc="left")
        panels[2 * row].set_ylabel("p(right class)")
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(courses))
    return made


def _course(own: Runs) -> list[float]:
    return np.median([run["by_length"] for run in own], 0).tolist()
