"""The learning rate as a pure function of the step."""

import math

from model.config import TrainConfig


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """The learning rate of `step` (1 to `steps`).

    Rises linearly so that step `warmup_steps` has the peak, then follows the schedule so that the
    last step has `min_learning_rate_ratio` of it. (DeepSpeed's own warm-up begins at 0.0, which
    wastes step 1, and rises logarithmically.)
    """
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    first = max(config.warmup_steps, 1)
    course = (step - first) / max(config.steps - first, 1)
    left = 0.5 * (1 + math.cos(math.pi * course)) if config.schedule == "cosine" else 1 - course
    low = config.min_learning_rate_ratio
    return config.learning_rate * (low + (1 - low) * left)
