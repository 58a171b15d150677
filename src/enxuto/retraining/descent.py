"""`Descent`: one step after another down the divergence from the original plus the price of the bits."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from enxuto.errors import error_reason
from enxuto.importing.network import OnnxNetwork
from enxuto.metrics.losses import OutputLoss
from enxuto.retraining.averages import Averages
from enxuto.retraining.divergence import divergence_from, with_labels
from enxuto.retraining.features import give_features, share_off
from enxuto.retraining.images import TrainingImages
from enxuto.retraining.placement import finish_work, name_of, plainer_than
from enxuto.retraining.schedule import Schedule, mean_seconds
from enxuto.retraining.student import Student
from enxuto.train.placement import Placement

__all__ = ["Descent"]

_BETAS = (0.9, 0.99)
_EPSILON = 1e-16  # far below the gradients of a network whose answers hardly change
_STEP, _COARSER, _ROWS, _BIAS = 0.1, 0.1, 0.4, 0.05  # learning rates beside that of the weights
_SOME_STEPS = Schedule(1_000_000)  # of a training whose first steps change next to nothing


class Descent:
    """A student that learns from a teacher. step: how many steps are done; averages: of what was learned."""

    def __init__(
        self,
        student: Student,
        teacher: OnnxNetwork,
        images: TrainingImages,
        losses: tuple[OutputLoss, ...],
        rate: float,
        placement: Placement,
        *,
        coarsens: bool = False,
        features: tuple[Sequence[str], float] = ((), 0.0),
    ) -> None:
        """Args:
        losses: of the outputs of both networks.
        rate: the highest learning rate of weights, in steps of their grids.
        placement: where both networks go.
        coarsens: whether it is learned how coarsely weights are rounded.
        features: values that are to stay what they are, and what their error counts beside the loss.
        """
        self.student, self.images = student, images
        self._teacher, self._losses, self._coarsens = teacher, losses, coarsens
        names, self._pull = features
        for network in (student.network, teacher):
            give_features(network, len(losses), names if self._pull else ())
        self.step = 0
        self.placement = self._place(placement)
        self.optimizer = _optimizer(student, rate, coarsens=coarsens)
        self.averages = Averages(student)

    def _place(self, placement: Placement) -> Placement:
        """Go to a placement, or to a plainer one where an operator of the network does not run in it, and say so."""
        for plainer in (*plainer_than(placement), None):
            self.placement = placement
            self.student.move_to(placement.device)
            self._teacher.to(placement.device)
            if plainer is None:
                break
            try:
                (self.loss(0) + self.student.bits()).backward()  # type: ignore[no-untyped-call]
                break
            except RuntimeError as error:
                reason = error_reason(error)
            warnings.warn(
                f"retraining runs {name_of(plainer)}, as this network does not run {name_of(placement)}: {reason}",
                stacklevel=3,
            )
            placement = plainer
        self.student.zero_grad(set_to_none=True)
        return placement

    def learn(self, schedule: Schedule, price: float) -> bool:
        """Take one step at a price in nats per bit; False, with nothing changed, where the loss is no number."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["most"] * schedule.rate(self.step)
        loss = self.loss(self.step)
        if price > 0:
            loss = loss + price * self.student.bits()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not (math.isfinite(float(loss.detach())) and _are_finite(self.student)):
            return False
        self.optimizer.step()
        self.averages.update(schedule.steps)
        self.step += 1
        return True

    def seconds_of_step(self, price: float, seconds: float) -> float:
        """Return the seconds that a step takes: some are taken for so long, and then taken back."""
        before = self.state()

        def take_one() -> None:
            self.learn(_SOME_STEPS, price)
            if self._coarsens:  # it is then looked at after every step
                self.student.bits_of_levels()
            finish_work(self.placement)

        found = mean_seconds(take_one, seconds)
        self.restore(before)
        return found

    def loss(self, step: int) -> Tensor:
        """Return the divergence, and how far features are off, on the images of a step.

        Both in float32, whatever the networks compute in.
        """
        batch = self.images.batch_at(step)
        images = batch.images.to(self.placement.device)
        with self.placement.autocast():
            with torch.no_grad():
                reference = _tuple(self._teacher(images))
            found = _tuple(self.student(images))
        ends = len(self._losses)
        ours = _floats(found[:ends])
        loss = divergence_from(_floats(reference[:ends]), ours, self._losses)
        if batch.targets is not None and self.images.labels is not None:
            targets, share = batch.targets.to(self.placement.device), self.images.labels.share
            loss = with_labels(loss, targets, _floats(reference[:ends]), ours, self._losses, share)
        return loss + self._pull * share_off(reference[ends:], found[ends:]) if self._pull else loss

    def grow_steps(self, factor: float) -> None:
        """Count in steps larger by a factor, so that fewer levels are taken; layers keep their strength.

        Latent numbers shrink by the factor, and a layer's step grows by as much as makes up for the levels that became
        smaller (by least squares), which is nothing as long as none did. Steps that grew by the factor at once would
        make every layer stronger by it, as most levels stay; twenty layers without normalisation do not survive that.
        """
        if factor == 1:
            return
        places = {id(parameter): number for number, parameter in enumerate(self.student.parameters())}
        with torch.no_grad():
            for weight in self.student.weights.values():
                before = weight()
                for tensor in (weight.latent, self.averages.values[places[id(weight.latent)]]):
                    tensor /= factor
                gain = _gain(before, weight())
                for tensor in (weight.log_step, self.averages.values[places[id(weight.log_step)]]):
                    tensor += math.log2(gain)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, but the rate model, as plain values and tensors."""
        return {
            "step": self.step,
            "averaged": self.averages.count,
            "parameters": [parameter.detach().clone() for parameter in self.student.parameters()],
            "averages": [value.clone() for value in self.averages.values],
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; `ValueError` or `KeyError` where it is of another network."""
        parameters = list(self.student.parameters())
        for values in (state["parameters"], state["averages"]):
            if [value.shape for value in values] != [parameter.shape for parameter in parameters]:
                raise ValueError("the tensors of a checkpoint have other shapes")
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for parameter, value in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        self.averages.values = [
            value.to(parameter.device, copy=True)
            for value, parameter in zip(state["averages"], parameters, strict=True)
        ]
        self.averages.count, self.step = int(state["averaged"]), int(state["step"])
        self.student.refresh_rates()


def _optimizer(student: Student, rate: float, *, coarsens: bool) -> torch.optim.Optimizer:
    weights, biases = student.weights.values(), student.biases.values()
    groups = [
        ([weight.latent for weight in weights], 1.0),
        ([weight.log_step for weight in weights], _STEP),
        ([weight.coarser for weight in weights if coarsens], _COARSER),
        ([weight.rows for weight in weights if weight.rows.numel()], _ROWS),
        ([bias.latent for bias in biases], _BIAS),
    ]
    return torch.optim.Adam(
        [{"params": params, "most": rate * share} for params, share in groups if params],
        lr=rate,
        betas=_BETAS,
        eps=_EPSILON,
    )


def _gain(wanted: Tensor, values: Tensor) -> float:
    """Return what values are best multiplied by, from 1/2 to 2; 1 where wanted or values are all zero.

    A layer without levels has no strength to keep: its step must not shrink from time to time, or it never returns.
    """
    products, squares = float((wanted * values).sum()), float((values * values).sum())
    return min(2.0, max(0.5, products / squares)) if products and squares else 1.0


def _are_finite(student: Student) -> bool:
    gradients = (parameter.grad for parameter in student.parameters())
    return all(bool(torch.isfinite(gradient).all()) for gradient in gradients if gradient is not None)


def _floats(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(output.float() for output in outputs)


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
