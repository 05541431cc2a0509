"""Which choice of a plan a question is about: `deployments.assistant.kv_preset`, `assistant.context_limit=16Ki`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from planner.candidates import Config
from planner.errors import Diagnostic, InputError
from planner.plan.types import Deployment, Plan
from planner.scenario.types import Scenario
from planner.scenario.written import tokens
from planner.units import quote

Flag = Literal["--why", "--why-not"]

BLOCKS = ("deployments", "models")


@dataclass(frozen=True)
class Field:
    """A choice that a plan makes: its word, the scenario's word for what may be chosen, and how to read it."""

    word: str
    written: str
    of_config: Callable[[Config], str]
    of_deployment: Callable[[Deployment], str]


FIELDS = (
    Field("kv_preset", "kv_presets", lambda c: c.kv_preset, lambda d: d.kv_preset),
    Field(
        "context_limit",
        "context_limit",
        lambda c: tokens(c.context_limit_tokens),
        lambda d: tokens(d.context_limit_tokens),
    ),
    Field("max_batch", "max_batch", lambda c: str(c.max_batch), lambda d: str(d.max_batch)),
    Field("parallel", "parallel", lambda c: c.parallel, lambda d: d.parallel),
    Field("weights", "weights", lambda c: c.weights, lambda d: d.weights),
    Field("gpu", "", lambda c: c.gpu, lambda d: d.gpu),
)
"""Choices that are part of a replica's configuration."""

REPLICAS, POOL = "replicas", "pool"
"""Choices that are not: how many of them run, and on which nodes."""

WORDS = (*(field.word for field in FIELDS), REPLICAS, POOL)
ALIASES = {"kv_presets": "kv_preset", "pools": POOL, "context_limits": "context_limit"}


@dataclass(frozen=True)
class Asked:
    """What a question is about: a model, what of it, and the deployments that the plan has of it.

    `value` is what `--why-not` asks for, at column `value_col` of its text.
    """

    flag: Flag
    text: str
    model: str
    word: str
    deployments: tuple[Deployment, ...]
    value: str = ""
    value_col: int = 0

    @property
    def field(self) -> Field:
        """The choice, where it is part of a configuration."""
        return next(field for field in FIELDS if field.word == self.word)

    @property
    def is_field(self) -> bool:
        """Whether the choice is part of a configuration."""
        return self.word not in (REPLICAS, POOL)

    def wrong(self, col: int, message: str) -> InputError:
        """A mistake in the text of the question."""
        return mistake(self.flag, col, message)


def mistake(flag: str, col: int, message: str) -> InputError:
    """A mistake at a column of a flag's text."""
    return InputError([Diagnostic(flag, 1, col, "KV981", message)])


def all_asked(why: Sequence[str], why_not: Sequence[str], plan: Plan) -> tuple[list[Asked], list[Asked]]:
    """Reads all questions of both kinds.

    Raises:
        InputError: every mistake in them.
    """
    wrong: list[Diagnostic] = []
    found: dict[Flag, list[Asked]] = {"--why": [], "--why-not": []}
    for flag, texts in zip(found, (why, why_not), strict=True):
        for text in texts:
            try:
                found[flag].append(asked(flag, text, plan))
            except InputError as error:
                wrong += error.diagnostics
    if wrong:
        raise InputError(wrong)
    return found["--why"], found["--why-not"]


def asked(flag: Flag, text: str, plan: Plan) -> Asked:
    """Reads a question.

    Raises:
        InputError: nothing of that name is in the plan, or a value is missing or one too many.
    """
    path, equals, value = text.partition("=")
    if flag == "--why" and equals:
        raise mistake(flag, len(path) + 1, f"{quote(text)} asks for a value; write it behind --why-not")
    if flag == "--why-not" and not value.strip():
        raise mistake(flag, len(text) + 1, f"{quote(text)} names no value; write it like 'assistant.kv_preset=bf16'")
    start = 1
    head, dot, rest = path.partition(".")
    if head in BLOCKS and dot and head not in plan.scenario.models:
        start, path = len(head) + 2, rest
    name, dot, word = path.rpartition(".")
    if not dot:
        message = f"{quote(path)} is no choice of a plan; write it like deployments.{_first(plan)}.kv_preset"
        raise mistake(flag, start, message)
    model, deployments = _owner(flag, start, name, plan)
    word = ALIASES.get(word.strip(), word.strip())
    if word not in WORDS:
        raise mistake(flag, start + len(name) + 1, f"{quote(word)} is no choice; {_near(word, WORDS)}")
    if not deployments[0].parallel and word not in ("gpu", REPLICAS, POOL):
        message = f"{model} is planned from a capacity table: it has a gpu, a pool and replicas"
        raise mistake(flag, start + len(name) + 1, message)
    col = len(text) - len(value) + len(value) - len(value.lstrip()) + 1
    return Asked(flag, text, model, word, deployments, value.strip(), col)


def _owner(flag: Flag, col: int, name: str, plan: Plan) -> tuple[str, tuple[Deployment, ...]]:
    """The model and its deployments that a name stands for: one deployment, or all of a model."""
    if name in plan.deployments:
        return plan.deployments[name].model, (plan.deployments[name],)
    own = tuple(each for each in plan.deployments.values() if each.model == name)
    if own:
        return name, own
    known = tuple(dict.fromkeys((*plan.deployments, *(each.model for each in plan.deployments.values()))))
    raise mistake(flag, col, f"the plan has no deployment {quote(name)}; {_near(name, known)}")


def _near(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"


def _first(plan: Plan) -> str:
    return next(iter(plan.deployments), "assistant")


def known_pool(asked_: Asked, scenario: Scenario) -> str:
    """The pool that a question names.

    Raises:
        InputError: there is none of that name.
    """
    if asked_.value not in scenario.inventory:
        message = f"there is no pool {quote(asked_.value)}; {_near(asked_.value, tuple(scenario.inventory))}"
        raise asked_.wrong(asked_.value_col, message)
    return asked_.value
