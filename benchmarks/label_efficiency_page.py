"""What the study of few labels found, as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Results = dict[str, dict[str, list[dict[str, float]]]]
"""By encoder and task: one row per share of the labels, with ``share``, ``patients``, ``score``, ``low``, ``high``."""
SHARES = (0.01, 0.05, 0.1, 0.5, 1.0)
UNITS = {
    "views": "balanced accuracy",
    "segmentation": "Dice, LV cavity",
    "lv_wall": "end point error (mm)",
    "ejection_fraction": "EF error (points)",
    "camus": "Dice, LV cavity",
    "real_views": "share of clips called right",
}
ERRORS = ("lv_wall", "ejection_fraction")
"""Tasks of which less is better."""


def write_table(results: Results, units: Mapping[str, str] = UNITS, by_share: bool = True) -> str:
    """One Markdown table per task: encoders down, shares of the labels (or labelled patients) across."""
    lines = []
    for task, rows in next(iter(results.values())).items():
        amounts = [f"{row['share']:.0%}" if by_share else f"{row['patients']}" for row in rows]
        lines += [f"**{task}** ({units[task]})", "", f"| encoder | {' | '.join(amounts)} |"]
        lines.append("|---" * (len(rows) + 1) + "|")
        for name, tasks in results.items():
            cells = [f"{row['score']:.3g} ({row['low']:.3g} to {row['high']:.3g})" for row in tasks[task]]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def draw_picture(
    results: Results,
    path: Path,
    units: Mapping[str, str] = UNITS,
    errors: Sequence[str] = ERRORS,
    labelled: str = "labelled patients",
) -> None:
    """One panel per task over what is labelled; ``errors`` are those of which less is better."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    tasks = list(next(iter(results.values())))
    figure, axes = plt.subplots(1, len(tasks), figsize=(3.4 * len(tasks), 3.4), squeeze=False, constrained_layout=True)
    for axis, task in zip(axes[0], tasks, strict=True):
        for name, of_encoder in results.items():
            rows = of_encoder[task]
            patients = [row["patients"] for row in rows]
            (line,) = axis.plot(patients, [row["score"] for row in rows], marker="o", markersize=4, label=name)
            axis.fill_between(
                patients,
                [row["low"] for row in rows],
                [row["high"] for row in rows],
                color=line.get_color(),
                alpha=0.15,
            )
        scores = [row["score"] for of_encoder in results.values() for row in of_encoder[task]]
        if task in errors:  # of one or two patients a line may miss by any amount
            axis.set_ylim(0, 1.6 * max(of_encoder[task][:2][-1]["score"] for of_encoder in results.values()))
        else:  # an interval of two or three seeds may reach further than a share can
            axis.set_ylim(max(0.0, min(scores) - 0.1), min(1.0, max(scores) + 0.1))
        axis.set_xscale("log")
        axis.set_xticks(patients, [f"{count:g}" for count in patients])
        axis.minorticks_off()
        axis.set_title(task.replace("_", " "), fontsize=11)
        axis.set_xlabel(labelled)
        axis.set_ylabel(units[task])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, alpha=0.25)
    axes[0][0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)
