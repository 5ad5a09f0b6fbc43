"""The base of every stage's identity config: frozen, and unknown keys are errors.

A stage's config holds what its bytes depend on and nothing else. Workers, paths and addresses are
arguments, so they never change a fingerprint. Each stage declares its own beside its code.
"""

from pydantic import BaseModel, ConfigDict


class StageConfig(BaseModel):
    """Base of the stages' configs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
