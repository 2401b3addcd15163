"""The loss of a network on a fixed set of images, as a function of one layer's weights at a time."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad

from howfar.arrays import NetworkInputs, PerExample, Targets
from howfar.probe.flow import NotReplayableError
from howfar.probe.fold import folded
from howfar.probe.recorded import RecordedImages
from howfar.probe.replay import Replay
from howfar.probe.restore import restored

TRIAL = 8  # images on which folding is checked


@dataclass
class Point:
    """The loss at one point in weight space.

    Attributes:
        losses: per image, nats, float64.
        qualities: per image, float64.
        gradient: of the mean loss with respect to the layer's weight; None if not requested.
    """

    losses: PerExample
    qualities: PerExample
    gradient: Tensor | None = None

    @property
    def loss(self) -> float:
        """Mean loss, nats."""
        return float(self.losses.mean())


@dataclass(frozen=True)
class Move:
    """A perturbation of one layer's weight, and whether the gradient there is requested."""

    layer: str
    change: Tensor
    gradient: bool = False


class Surface(RecordedImages):
    """Loss, quality and gradient of an eval-mode network over fixed images.

    Arguments are those of ``RecordedImages``. Weights are restored after each move.
    """

    _vectorizes = True  # until a network turns out not to allow it

    @contextmanager
    def opened(self, *, fold: bool = True) -> Iterator["Surface"]:
        """Put the model into eval mode and freeze all weights; everything is restored at the end, see ``restored``.

        Args:
            fold: fold batch normalizations into the preceding convolutions, see ``howfar.probe.fold``.
        """
        with restored(self.model, self.weights.values()):
            self.model.eval()
            for parameter in self.model.parameters():
                parameter.requires_grad_(False)
            images, _ = next(self.batches())
            try:
                with folded(self.model, images[:TRIAL], list(self.weights.values())) if fold else nullcontext():
                    self._fit(images[:1])
                    yield self
            finally:
                self.kept = None

    def start(self, subset: int = 0) -> tuple[Point, dict[str, Tensor], dict[str, Tensor]]:
        """Return the point at the unperturbed weights and the gradients of all layers there: one backward pass.

        Args:
            subset: number of images, as returned by ``proper_subset_size``.

        Returns:
            The point, the gradients, and the gradients minus those on the first ``subset`` images.
        """
        points, totals = [], {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        on_subset: dict[str, Tensor] = {}
        count = 0
        self.kept = None
        replays: list[Replay] = []
        for weight in self.weights.values():
            weight.requires_grad_()
        try:
            for images, target in self.batches():
                point, gradients, replay = self._first(images, target)
                points.append(point)
                for total, gradient in zip(totals.values(), gradients, strict=True):
                    if gradient is not None:
                        total += gradient
                if replay is not None and self._keeps:
                    replays.append(replay)
                del replay
                count += len(images)
                if count == subset:
                    on_subset = {name: total * (self.count / count) for name, total in totals.items()}
        finally:
            for weight in self.weights.values():
                weight.requires_grad_(False)
        self.kept = replays if self.replays and self._keeps else None
        return _joined(points), totals, {name: totals[name] - part for name, part in on_subset.items()}

    def _first(self, images: NetworkInputs, target: Targets) -> tuple[Point, Sequence[Tensor | None], Replay | None]:
        """Return the unperturbed point, its gradients and the recording, of one batch."""
        with torch.enable_grad():
            replay, output = self._record(images)
            point = self._point(self.model(images) if replay is None else output, target)
            loss = point.losses.sum() / self.count
            gradients = torch.autograd.grad(loss, list(self.weights.values()), allow_unused=True)
        return Point(point.losses.detach(), point.qualities), gradients, replay

    def at(self, moves: Sequence[Move], *, images: int | None = None) -> list[Point]:
        """Return the points after these moves, in their order.

        Args:
            moves: perturbations of one layer each.
            images: size of the subset, as returned by ``subset_size``; None takes all images.
        """
        if not moves:
            return []
        count = self.count if images is None else images
        parts: list[list[Point]] = [[] for _ in moves]
        totals: list[Tensor | None] = [None] * len(moves)
        for number, (batch, target) in enumerate(self.batches()):
            if number * self._size >= count:
                break
            replay = None  # drops the last recording before the next is made
            replay = self._recorded(number, batch)
            for index, move in enumerate(moves):
                point = self._moved(replay, move, batch, target, count)
                parts[index].append(point)
                if point.gradient is not None:
                    total = totals[index]
                    totals[index] = point.gradient if total is None else total + point.gradient
        return [_joined(points, total) for points, total in zip(parts, totals, strict=True)]

    def _moved(self, replay: Replay | None, move: Move, images: NetworkInputs, target: Targets, count: int) -> Point:
        weight = self.weights[move.layer]
        start = weight.detach().clone()
        try:
            with torch.no_grad():
                weight.add_(move.change)
            weight.requires_grad_(move.gradient)
            with torch.set_grad_enabled(move.gradient):
                point = self._point(self._output(replay, move.layer, images), target)
                if not move.gradient:
                    return point
                (slope,) = torch.autograd.grad(point.losses.sum() / count, weight, allow_unused=True)
            return Point(point.losses.detach(), point.qualities, torch.zeros_like(weight) if slope is None else slope)
        finally:
            weight.requires_grad_(False)
            with torch.no_grad():
                weight.copy_(start)

    def filters(self, layer: str, dim: int, moves: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return losses, qualities and gradients when each filter of a layer is perturbed alone, vectorized.

        Args:
            layer: name of its weight.
            dim: dimension of the weight that indexes the filters.
            moves: one perturbation per filter, (filters, ...).
            gradient: whether the gradient at each point is requested.

        Returns:
            Losses in nats and qualities, (filters, images) each, and the gradients of the mean loss, like ``moves``.
        """
        base = self.weights[layer].detach().movedim(dim, 0)
        which = torch.eye(len(base), device=base.device).view(len(base), len(base), *[1] * (base.ndim - 1))
        parts: list[tuple[Tensor, Tensor]] = []
        total = torch.zeros_like(moves) if gradient else None
        for number, (images, target) in enumerate(self.batches()):
            slopes, part = self._filters_of(layer, dim, moves, which, number, images, target, gradient=gradient)
            if total is not None:
                total += slopes
            parts.append(part)
        return torch.cat([losses for losses, _ in parts], 1), torch.cat([q for _, q in parts], 1), total

    def _filters_of(
        self, layer: str, dim: int, moves: Tensor, which: Tensor, number: int, images: NetworkInputs, target: Targets,
        *, gradient: bool,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """Return gradients (or losses), and losses and qualities of every filter on one batch."""
        base = self.weights[layer].detach().movedim(dim, 0)
        replay = self._recorded(number, images)

        def at(move: Tensor, chosen: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            weight = (base + chosen * move).movedim(0, dim)
            if replay is None:
                output = functional_call(self.model, {layer: weight}, (images,))
            else:
                output = replay.run(layer, images, weight)
            point = self._point(output, target)
            return point.losses.sum() / self.count, (point.losses, point.qualities)

        room = max(self._memory // (8 * max(replay.bytes if replay else self._memory, 1)), 1)
        found: tuple[Tensor, tuple[Tensor, Tensor]]
        try:
            found = self._each(grad(at, has_aux=True) if gradient else at, moves, which, room)
        except NotReplayableError as reason:
            self._give_up(reason)
            found = self._filters_of(layer, dim, moves, which, number, images, target, gradient=gradient)
        return found

    def _each(self, at: Callable[..., Any], moves: Tensor, which: Tensor, room: int) -> Any:
        """Return the results of ``at`` for every filter, stacked."""
        if self._vectorizes:
            try:
                return torch.vmap(at, chunk_size=room)(moves, which)
            except RuntimeError as reason:
                why = str(reason).splitlines()[0]
                warnings.warn(
                    f"filters are perturbed one after the other, which is correct but slower ({why}).", stacklevel=2
                )
                self._vectorizes = False
        found = [at(move, chosen) for move, chosen in zip(moves, which, strict=True)]
        firsts, seconds = torch.stack([first for first, _ in found]), [second for _, second in found]
        return firsts, tuple(torch.stack(column) for column in zip(*seconds, strict=True))

    def _point(self, output: Any, target: Targets) -> Point:
        with torch.no_grad():
            qualities = self.task.quality(output, target).double()
        return Point(self.task.loss(output, target).double(), qualities)


def _joined(points: list[Point], gradient: Tensor | None = None) -> Point:
    return Point(torch.cat([p.losses for p in points]), torch.cat([p.qualities for p in points]), gradient)
