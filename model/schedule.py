"""The learning rate as a pure function of the step."""

import math

from model.config import TrainConfig


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """The learning rate of `step` (1 to `steps`).

    Rises linearly so that step `warmup_steps` has the peak, then follows the schedule so that the
    last step has `min_learning_rate_ratio` of it. (DeepSpeed's own warm-up begins at 0.0, which
    wastes step 1, and rises logarithmically.) `constant_decay` falls as 1 − sqrt(course),
    the shape that did best in Hägele et al. 2024 (section 3).
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "constant_decay":
        first = config.steps - config.decay_steps
    else:
        first = max(config.warmup_steps, 1)
    course = min(max((step - first) / max(config.steps - first, 1), 0.0), 1.0)
    low = config.min_learning_rate_ratio
    return config.learning_rate * (low + (1 - low) * _left(config.schedule, course))


def _left(schedule: str, course: float) -> float:
    """What is left of the fall, 1 at its start and 0 at its end."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * course))
    return 1 - (math.sqrt(course) if schedule == "constant_decay" else course)
