"""Collects why configurations fell, and folds what is the same reason into one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from planner.candidates.types import Rejection
from planner.catalog.types import Refusal


@dataclass
class _Fold:
    refusal: Refusal
    order: float
    count: int = 0
    choices: dict[str, set[str]] = field(default_factory=dict)


class Rejections:
    """Rejections folded into lines; of one line the mildest message is kept and the count grows."""

    def __init__(self) -> None:
        self._folds: dict[tuple[str, str | None, str, str, str], _Fold] = {}

    def add(
        self,
        model: str,
        refusal: Refusal,
        *,
        subject: str,
        count: int,
        kind: str = "",
        class_name: str | None = None,
        order: float = 0.0,
        choices: dict[str, str] | None = None,
    ) -> None:
        """One refusal for `count` configurations; `order` says which of several messages is mildest (lowest).

        What shares model, class, bottleneck, subject and `kind` is one line.
        """
        at = (model, class_name, str(refusal.bottleneck), subject, kind)
        fold = self._folds.setdefault(at, _Fold(refusal, order))
        if order < fold.order:
            fold.refusal, fold.order = refusal, order
        fold.count += count
        for name, value in (choices or {}).items():
            fold.choices.setdefault(name, set()).add(value)

    def rows(self, offered: Mapping[str, Mapping[str, Iterable[str]]]) -> tuple[Rejection, ...]:
        """All rejections, sorted. `offered` has each model's choices: a choice is named unless every value fell."""
        found = []
        for (model, class_name, _, subject, _), fold in self._folds.items():
            words = [f"{model} {subject}".strip()]
            for name, values in sorted(fold.choices.items()):
                if values != set(offered[model].get(name, ())):
                    words.append("/".join(sorted(values)))
            found.append(
                Rejection(
                    model=model,
                    subject=" ".join(words),
                    bottleneck=fold.refusal.bottleneck,
                    message=fold.refusal.message,
                    nearest=fold.refusal.nearest,
                    class_name=class_name,
                    count=fold.count,
                )
            )
        return tuple(sorted(found, key=lambda r: (r.model, r.class_name or "", r.bottleneck, r.subject, r.message)))
