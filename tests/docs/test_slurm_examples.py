"""The examples for SLURM are shell scripts that name recipes which exist."""

import re
import subprocess
from pathlib import Path

import pytest

from echoapex.config import read_recipe
from echoapex.recipes.runner import build_recipe, find_recipe

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples" / "slurm").glob("*.sbatch"))


def test_there_is_one_for_each_size_of_cluster() -> None:
    assert [script.stem for script in SCRIPTS] == ["pretrain_1gpu", "pretrain_8gpu", "pretrain_8x8gpu"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_is_a_shell_script_for_a_recipe_that_exists(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    name = re.search(r"echoapex pretrain (\w+)", text)
    assert name is not None
    recipe = build_recipe(read_recipe(find_recipe(name[1])), name[1])
    nodes, gpus = (int(found) for found in re.findall(r"#SBATCH --(?:nodes|gpus-per-node)=(\d+)", text))
    assert recipe.task.frames.batch_size % (nodes * gpus) == 0, "the batch divides over the processes"
    assert f"--nproc-per-node={gpus}" in text
