"""What every task gives the loop: a sum of named terms, and groups that hold each trainable parameter once."""

import pytest
import torch
from tiny_tasks import TASK_NAMES, TinyTasks
from torch import nn

from echoapex.tasks.task import Cases, Loss, Task


def test_a_loss_is_the_weighted_sum_of_its_terms() -> None:
    first, second = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    loss = Loss.sum_of([("first", 1.0, first), ("second", 0.5, second)])
    assert loss.total.item() == 3.5
    assert {name: value.item() for name, value in loss.terms.items()} == {"first": 2.0, "second": 3.0}
    assert not any(term.requires_grad for term in loss.terms.values()), "the journal keeps no graph alive"
    loss.total.backward()
    assert (first.grad, second.grad) == (torch.tensor(1.0), torch.tensor(0.5))


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_trainable_parameter_is_in_exactly_one_group(tasks: TinyTasks, name: str) -> None:
    task = tasks.by_name[name]
    grouped = [id(p) for group in task.parameter_groups() for p in group.parameters]
    trainable = {id(p) for p in task.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trainable


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_task_names_its_encoder_and_what_learns_in_its_place(tasks: TinyTasks, name: str) -> None:
    task = tasks.by_name[name]
    encoder, adapter = task.encoder_and_adapter()
    modules = dict(task.named_children())
    assert encoder is modules.get("encoder")
    assert adapter is modules.get("adapter")


def test_matrices_decay_and_gains_biases_and_tokens_do_not(tasks: TinyTasks) -> None:
    names = {id(p): name for name, p in tasks.multitask.named_parameters()}
    decayed = {
        names[id(p)]
        for group in tasks.multitask.parameter_groups()
        if group.weight_decay_factor > 0
        for p in group.parameters
    }
    linear = [f"{name}.weight" for name, m in tasks.multitask.named_modules() if isinstance(m, nn.Linear)]
    assert "view.decoder.classifier.weight" in linear
    assert decayed >= {name for name in linear if dict(tasks.multitask.named_parameters())[name].shape[0] > 1}
    exempt = (".bias", ".gain", "norm.weight", "class_token", "mask_token", "register_tokens", "class_position")
    assert not [name for name in decayed if name.endswith(exempt)]


def test_a_task_may_do_nothing_after_a_step() -> None:
    class Still(Task):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

        def loss(self, batch: torch.Tensor) -> Loss:
            return Loss.sum_of([("sum", 1.0, self.weight.sum())])

        def cases(self, batch: torch.Tensor) -> Cases:
            return {}

        def summarise(self, cases: Cases) -> dict[str, float]:
            return {}

    task = Still()
    task.after_step(3)
    assert torch.equal(task.weight, torch.ones(2, 2))
