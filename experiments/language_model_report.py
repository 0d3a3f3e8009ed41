"""Tables and pictures of `language_model`."""

from typing import Any

from experiments.report import Runs, figure

COLOURS = {
    "n-gram": "#8c564b",
    "fixed window": "#9467bd",
    "Elman": "#7f7f7f",
    "GRU": "#d1701c",
    "LSTM": "#0b5fa5",
    "AWD-LSTM": "#2f7d4f",
    "Zaremba small": "#0b5fa5",
}


def model_rows(rows: Runs) -> list[dict[str, str]]:
    return [
        {
            "model": _name(row),
            "bits per character": f"{row['bits']:.3f}",
            "perplexity per token": f"{row['perplexity']['test']:.2f}",
            "validation": f"{row['perplexity']['validation']:.2f}",
            "parameters": f"{row['parameters']:,}",
            "MB": f"{row['bytes'] / 1e6:.2g}",
            "seconds to train": f"{row['seconds']:.0f}",
        }
        for row in rows
    ]


def count_rows(counts: Runs) -> list[dict[str, str]]:
    orders = sorted({row["order"] for row in counts})
    found = {(row["order"], row["smoothing"]): row for row in counts}
    smoothings = list(dict.fromkeys(row["smoothing"] for row in counts))
    return [
        {
            "order": str(order),
            **{f"bits per character, {s}": f"{found[order, s]['bits']:.3f}" for s in smoothings},
            "n-grams kept": f"{found[order, smoothings[0]]['parameters']:,}",
            "share of all possible": f"{found[order, smoothings[0]]['seen']:.1e}",
            "test n-grams never seen": f"{found[order, smoothings[0]]['unseen']:.1%}",
            "MB": f"{found[order, smoothings[0]]['bytes'] / 1e6:.2g}",
        }
        for order in orders
    ]


def window_rows(widths: Runs) -> list[dict[str, str]]:
    return [
        {
            "window": str(row["window"]),
            "bits per character": f"{row['bits']:.3f}",
            "perplexity per token": f"{row['perplexity']['test']:.2f}",
            "parameters": f"{row['parameters']:,}",
        }
        for row in sorted(widths, key=lambda row: row["window"])
    ]


def models(rows: Runs) -> Any:
    """Bits per character, a bar a model, beside what they cost in parameters and in time."""
    made, (left, right) = figure(1, 2, size=(11, 4.2))
    names = [_name(row) for row in rows]
    colours = [COLOURS[row["name"]] for row in rows]
    bars = left.barh(names, [row["bits"] for row in rows], color=colours)
    left.bar_label(bars, [f"{row['bits']:.2f}" for row in rows], padding=3)
    left.invert_yaxis()
    left.grid(visible=False)
    left.set(xlabel="bits per character of unseen text", xlim=(0, 1.12 * max(row["bits"] for row in rows)))
    for row, colour in zip(rows, colours, strict=True):
        right.scatter(row["seconds"], row["bits"], s=60, color=colour, zorder=3)
        right.annotate(_name(row), (row["seconds"], row["bits"]), xytext=(6, 5), textcoords="offset points")
    right.set(xscale="log", xlabel="seconds to train", ylabel="bits per character")
    right.margins(x=0.25, y=0.15)
    return made


def counts(rows: Runs) -> Any:
    """Loss, storage and sparsity of n-grams by order."""
    made, panels = figure(1, 3, size=(12, 3.8))
    own = [row for row in rows if row["smoothing"] == rows[0]["smoothing"]]  # what is kept is the same for all
    orders = [row["order"] for row in own]
    for smoothing, marker in zip(dict.fromkeys(row["smoothing"] for row in rows), "os", strict=False):
        bits = [row["bits"] for row in rows if row["smoothing"] == smoothing]
        panels[0].plot(orders, bits, marker=marker, label=smoothing)
    panels[0].set(xlabel="order", ylabel="bits per character")
    panels[0].legend()
    panels[1].plot(orders, [row["parameters"] for row in own], marker="o", color="black")
    panels[1].set(xlabel="order", ylabel="n-grams kept", yscale="log")
    panels[2].plot(orders, [100 * row["unseen"] for row in own], marker="o", color="black")
    panels[2].set(xlabel="order", ylabel="% of the test text's n-grams never seen", ylim=(0, None))
    return made


def windows(rows: Runs) -> Any:
    """Loss and parameters of the fixed window by its width."""
    made, (left, right) = figure(1, 2, size=(9, 3.6))
    rows = sorted(rows, key=lambda row: row["window"])
    widths = [row["window"] for row in rows]
    left.plot(widths, [row["bits"] for row in rows], marker="o", color=COLOURS["fixed window"])
    left.set(xlabel="tokens that the window sees", ylabel="bits per character", xscale="log")
    right.plot(widths, [row["parameters"] for row in rows], marker="o", color=COLOURS["fixed window"])
    right.set(xlabel="tokens that the window sees", ylabel="parameters", ylim=(0, None), xscale="log")
    for axis in (left, right):
        axis.set_xticks(widths, [str(width) for width in widths])
        axis.minorticks_off()
    return made


def _name(row: dict[str, Any]) -> str:
    if row["name"] == "n-gram":
        return f"{row['order']}-gram, {row['smoothing']}"
    return f"fixed window of {row['window']}" if row["name"] == "fixed window" else row["name"]
