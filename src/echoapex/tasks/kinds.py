"""Which kind of ``task`` section a recipe may have."""

from __future__ import annotations

from echoapex.tasks.camus_recipe import CamusRecipe
from echoapex.tasks.dataset_ejection_fraction_recipe import DatasetEjectionFractionRecipe
from echoapex.tasks.dataset_views_recipe import DatasetViewsRecipe
from echoapex.tasks.ejection_fraction_recipe import EjectionFractionRecipe
from echoapex.tasks.joint_recipe import JointRecipe
from echoapex.tasks.multitask_recipe import MultiTaskRecipe
from echoapex.tasks.outline_views_recipe import OutlineViewsRecipe
from echoapex.tasks.pretrain_recipe import PretrainRecipe
from echoapex.tasks.recipe import TaskRecipe

TASK_KINDS: dict[str, type[TaskRecipe]] = {
    "camus_segmentation": CamusRecipe,
    "joint": JointRecipe,
    "multitask": MultiTaskRecipe,
    "dataset_views": DatasetViewsRecipe,
    "dataset_ejection_fraction": DatasetEjectionFractionRecipe,
    "ejection_fraction": EjectionFractionRecipe,
    "outline_views": OutlineViewsRecipe,
    "pretrain": PretrainRecipe,
}
