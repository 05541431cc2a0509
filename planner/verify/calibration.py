"""Speeds that a fleet was seen at, as a table of measured latencies that scenarios read under `performance.measured`.

A table says what a number of users in a closed loop would see. Nobody measured that: requests came as they liked, with
lengths of all kinds. What was measured is by what factor all steps are longer or shorter than predicted at the batches
that were there; the table has the predicted TPOT of a closed loop with the mean batch and lengths, times that factor,
and its source says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from planner.candidates.physics import timed_steps, usable_preset
from planner.candidates.types import Shape
from planner.catalog.types import Refusal
from planner.errors import Diagnostic, InputError
from planner.performance.closed_loop import Limits, Users, closed_loop
from planner.plan.types import Deployment, Plan
from planner.scenario.types import ModelSpec
from planner.verify.session import Speed

COLUMNS = (
    *("model", "gpu", "engine", "parallel", "weights", "kv_dtype", "input_tokens", "output_tokens", "concurrency"),
    *("tpot_ms", "source"),
)


def calibration_csv(plan: Plan, speeds: Sequence[Speed], plan_file: str) -> str:
    """A row for every deployment whose speed was measured.

    Raises:
        InputError: no speed was measured (KV735).
    """
    if not speeds:
        text = (
            "no speed to calibrate with: the log needs the times of its requests (ttft_s and e2e_s), and the "
            "deployment of each where a model has several"
        )
        raise InputError([Diagnostic(plan_file, 0, 0, "KV735", text)])
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(plan, speed, plan_file) for speed in speeds)
    return stream.getvalue()


def _row(plan: Plan, speed: Speed, plan_file: str) -> tuple[str | int, ...]:
    deployment = plan.deployments[speed.deployment]
    model = plan.scenario.models[deployment.model]
    assert model.facts is not None and model.engine is not None
    users, batch = Users(round(speed.input_tokens), max(2, round(speed.output_tokens))), max(1, round(speed.batch))
    shape = _shape(plan, model, deployment)
    usable = usable_preset(model, shape, plan.scenario.compression)
    assert not isinstance(usable, Refusal)
    step = timed_steps(model, shape, usable, plan.scenario.performance)
    assert not isinstance(step, Refusal)
    loop = closed_loop(step, users, Limits(deployment.max_num_batched_tokens), batch)
    source = (
        f"kvplan verify {plan_file} ({speed.deployment}): steps x {speed.factor:.3f} over {speed.requests:,} requests, "
        "written for a closed loop of their mean batch and lengths"
    )
    return (
        model.facts.id,
        deployment.gpu,
        f"{model.engine.requested}",
        deployment.parallel,
        deployment.weights,
        usable.flag,
        users.input_tokens,
        users.output_tokens,
        batch,
        f"{1e3 * speed.factor * loop.tpot_s:.4f}",
        source,
    )


def _shape(plan: Plan, model: ModelSpec, deployment: Deployment) -> Shape:
    gpu = next(pool.gpu for pool in plan.scenario.inventory.values() if pool.gpu.id == deployment.gpu)
    parallel = next(shape for shape in model.parallel if str(shape) == deployment.parallel)
    return Shape(gpu, deployment.weights, parallel, deployment.kv_preset)
