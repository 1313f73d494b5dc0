"""A tiny EchoNet-LVH of simulated hearts, in the official layout: measured lines along the phantom's own walls."""

from __future__ import annotations

from pathlib import Path

from avi_files import write_avi
from dataset_findings import write_table

from echoapex.domain import WallPoint
from echoapex.phantom import PhantomClip, simulate_clip
from echoapex.vocabulary import View

SIDE, FRAMES = 384, 3
SPLITS = ("train", "train", "val", "test")
COLUMNS = [
    "",
    "HashedFileName",
    "Calc",
    "CalcValue",
    "Frame",
    "X1",
    "X2",
    "Y1",
    "Y2",
    "Frames",
    "FPS",
    "Width",
    "Height",
]
LINES = {
    "LVPWd": (WallPoint.POSTERIOR_WALL_EPICARDIUM, WallPoint.POSTERIOR_WALL_LV_SIDE),
    "LVIDd": (WallPoint.POSTERIOR_WALL_LV_SIDE, WallPoint.SEPTUM_LV_SIDE),
    "IVSd": (WallPoint.SEPTUM_LV_SIDE, WallPoint.SEPTUM_RV_SIDE),
}


def write_tiny_echonet_lvh(root: Path) -> dict[str, PhantomClip]:
    """One video in each batch; returns the simulated clip behind each ``0X....avi``."""
    clips: dict[str, PhantomClip] = {}
    rows: list[dict[str, str]] = []
    for seed, split in enumerate(SPLITS):
        clip = simulate_clip(View.PLAX, seed, size=SIDE, frames=FRAMES)
        assert clip.walls is not None
        name = f"0X{seed:016X}.avi"
        clips[name] = clip
        write_avi(root / f"Batch{seed + 1}" / name, clip.frames)
        lengths_mm = {"IVSd": clip.walls.ivsd_mm, "LVIDd": clip.walls.lvidd_mm, "LVPWd": clip.walls.lvpwd_mm}
        for calc, (start, end) in LINES.items():
            (x1, y1), (x2, y2) = clip.walls.points_xy[start], clip.walls.points_xy[end]
            rows.append(
                {
                    "": str(len(rows)),
                    "HashedFileName": name.removesuffix(".avi"),
                    "Calc": calc,
                    "CalcValue": f"{lengths_mm[calc] / 10:.5f}",
                    "Frame": str(clip.ed_frame),
                    "X1": str(round(x1)),
                    "X2": str(round(x2)),
                    "Y1": str(round(y1)),
                    "Y2": str(round(y2)),
                    "Frames": str(FRAMES),
                    "FPS": "25",
                    "Width": str(SIDE),
                    "Height": str(SIDE),
                    "split": split,
                }
            )
    write_table(root / "MeasurementsList.csv", [*COLUMNS, "split"], rows)
    return clips
