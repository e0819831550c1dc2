"""Early stopping: the best is kept, waiting is counted, and both survive a checkpoint."""

from __future__ import annotations

import math

import torch

from scalelab.training.stopping import EarlyStopping


def test_it_ends_after_patience_evaluations_without_a_new_lowest() -> None:
    stopping = EarlyStopping(2)
    seen = []
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.9, 1.9, 2.4]):
        assert not stopping.over
        stopping.see(step, loss, (torch.tensor([loss]),))
        seen.append(stopping.waited)
    assert seen == [0, 0, 1, 0, 1, 2], "an equal loss is no new lowest"
    assert stopping.over
    assert (stopping.step, stopping.loss) == (3, 1.9)
    assert stopping.parameters[0].item() == torch.tensor(1.9).item()


def test_what_is_kept_is_a_copy() -> None:
    stopping, parameter = EarlyStopping(1), torch.ones(2)
    stopping.see(1, 1.0, (parameter,))
    parameter.zero_()
    assert stopping.parameters[0].tolist() == [1.0, 1.0]


def test_losses_that_are_no_numbers_never_improve() -> None:
    stopping = EarlyStopping(2)
    for step in range(2):
        stopping.see(step, math.nan, (torch.ones(1),))
    assert stopping.over
    assert stopping.parameters == ()


def test_it_goes_on_from_a_checkpoint_as_if_never_interrupted() -> None:
    whole, first = EarlyStopping(3), EarlyStopping(3)
    losses = [2.0, 2.1, 1.5, 1.6, 1.7, 1.8]
    resumed = EarlyStopping(3)
    for step, loss in enumerate(losses):
        parameters = (torch.tensor([float(step)]), torch.tensor([loss]))
        whole.see(step, loss, parameters)
        (first if step < 3 else resumed).see(step, loss, parameters)
        if step == 2:
            resumed.load(first.state(), parameters)
    assert resumed.over == whole.over
    assert (resumed.step, resumed.loss, resumed.waited) == (whole.step, whole.loss, whole.waited)
    for a, b in zip(resumed.parameters, whole.parameters, strict=True):
        assert torch.equal(a, b)
    EarlyStopping(3).load(EarlyStopping(3).state(), parameters)  # before any evaluation
