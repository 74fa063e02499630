"""What all schedules have in common: evaluation at a step, the JSON form, the plot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Schedule(ABC):
    """Base class: a frozen dataclass with one method, `value`; equal by value, written to JSON by class name."""

    kinds: ClassVar[dict[str, type[Schedule]]] = {}
    """All classes of schedules by name, those of users included."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class known to `schedule_from_dict`."""
        super().__init_subclass__(**kwargs)
        Schedule.kinds[cls.__name__] = cls

    @abstractmethod
    def value(self, fraction: float) -> float:
        """Return the value at a point of the fit.

        Args:
            fraction: Share of the updates that are done, 0 to 1.
        """

    def __call__(self, fraction: float) -> float:
        """Return the value at any point of the fit, also one outside of it.

        Args:
            fraction: Share of the updates that are done; below 0 counts as 0, above 1 as 1.
        """
        return self.value(min(max(fraction, 0.0), 1.0))

    def at(self, step: int, n_steps: int) -> float:
        """Return the value for an update.

        Args:
            step: Number of the update, from 0.
            n_steps: Updates of the whole fit, >= 1.
        """
        return self(step / positive(n_steps))

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON values: `{"kind": class name, field: value, ...}`."""
        return {"kind": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self)}  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> Schedule:
        """Build a schedule of this class from the fields of its JSON form.

        Args:
            values: The fields by name.

        Returns:
            The schedule.
        """
        return cls(**values)

    def plot(self, n_steps: int = 1000, ax: Axes | None = None) -> Axes:
        """Draw the values of a fit; shows nothing.

        Args:
            n_steps: Updates of the fit, >= 1.
            ax: Where to draw; new axes if None.

        Returns:
            The axes.
        """
        from textxfer.training.figures import new_axes

        ax = new_axes() if ax is None else ax
        ax.plot(range(n_steps), [self.at(step, n_steps) for step in range(n_steps)], label=type(self).__name__)
        ax.set(xlabel="update", ylabel="multiple of the base rate, or momentum")
        return ax


def schedule_from_dict(data: Mapping[str, Any]) -> Schedule:
    """Build the schedule that `Schedule.to_dict` wrote.

    Args:
        data: JSON values with the class name as `kind`.

    Returns:
        The schedule.

    Raises:
        ValueError: Its kind or one of its fields is unknown, missing or out of range.
    """
    kind = data.get("kind")
    cls = Schedule.kinds.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ValueError(f"unknown kind of schedule {kind!r}; there are {', '.join(sorted(Schedule.kinds))}")
    values = {name: value for name, value in data.items() if name != "kind"}
    known = {f.name: f.default is MISSING for f in fields(cls)}  # pyright: ignore[reportArgumentType]
    if unknown := values.keys() - known.keys():
        raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    if lacking := [name for name, needed in known.items() if needed and name not in values]:
        raise ValueError(f"{kind} lacks {', '.join(lacking)}")
    return cls.from_fields(values)


def positive(n_steps: int) -> int:
    """Return `n_steps`; ValueError if it is less than 1."""
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, not {n_steps}")
    return n_steps
