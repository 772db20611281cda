"""Roofline plots (Williams, Waterman and Patterson 2009) as SVG and PNG: intensity against achieved GFLOP/s, a circle a kernel call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlcc.profile import Core


def draw(title: str, machine: Core, rows: list[dict[str, Any]], path: Path) -> None:
    """Write path.svg and path.png; a circle's area is the call's share of the time."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "mlcc"  # the same drawing, the same bytes
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    low, high = 0.1, 1000.0
    for rate, label in ((machine.cache_gbs, "cache"), (machine.memory_gbs, "memory")):
        knee = machine.gflops / rate
        axes.plot([low, knee], [low * rate, machine.gflops], color="grey", linewidth=1)
        axes.annotate(f"{label} {rate:.0f} GB/s", (low * 1.2, low * 1.2 * rate), fontsize=8, color="grey")
    axes.plot([machine.gflops / machine.cache_gbs, high], [machine.gflops] * 2, color="grey", linewidth=1)
    axes.annotate(f"fma {machine.gflops:.0f} GFLOP/s", (high, machine.gflops), fontsize=8, color="grey", ha="right", va="bottom")
    counted = [r for r in rows if r["gflops"] > 0]
    axes.scatter(
        [r["intensity"] for r in counted],
        [r["gflops"] for r in counted],
        [2000 * r["share"] + 4 for r in counted],
        alpha=0.4,
        linewidths=0,
    )
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(1, 2 * machine.gflops), title=title)
    axes.set(xlabel="operations per byte that must move", ylabel="GFLOP/s")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110, metadata={"Software": None})
    pyplot.close(figure)
