#!/usr/bin/env python3
"""Draw benchmarks/results/kernels.json: each kernel's time over the floor by rows, a panel a layer. Needs matplotlib.

python benchmarks/kernel_plot.py
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    plot(json.loads((RESULTS / "kernels.json").read_text())["times"], RESULTS / "kernels.svg")


def plot(times: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write an SVG file of the 8B model's layers in W4 g128 asym bf16."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    cases = list(dict.fromkeys(time["case"] for time in times if time["case"].startswith("8B")))[:4]
    figure, panels = pyplot.subplots(2, 2, figsize=(12, 8), sharex=True, sharey=True, layout="constrained")
    for case, panel in zip(cases, panels.flat, strict=True):
        for kernel in dict.fromkeys(time["kernel"] for time in times):
            points = [time for time in times if (time["case"], time["kernel"]) == (case, kernel)]
            ratios = [time["us"] / time["floor_us"] for time in points]
            panel.plot([time["rows"] for time in points], ratios, marker="o", markersize=3, label=kernel)
        panel.set(title=case, xscale="log", yscale="log", xlabel="rows", ylabel="time over the floor")
        panel.set_xscale("log", base=2)
        panel.grid(alpha=0.3)
    panels.flat[0].legend()
    figure.savefig(out)


if __name__ == "__main__":
    main()
