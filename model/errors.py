"""What can go wrong in the model room.

ModelError              anything a user can mend; its message says what, where and how
├── SettingsError       settings that contradict one another or the launcher
├── ShardsError         token shards are missing, of the wrong kind, or hold impossible tokens
├── CheckpointError     a checkpoint is damaged or belongs to other shards or settings
├── TextsError          a file of texts is missing, damaged, or a row of it holds no text
├── DivergedError       losses or gradients are no numbers any more, step after step
└── WeightsError        a folder of weights or vocabulary is missing, damaged or unsupported
"""


class ModelError(Exception):
    """Base of the room's errors."""


class SettingsError(ModelError):
    """Settings that contradict one another or the launcher."""


class ShardsError(ModelError):
    """Token shards are missing, of the wrong kind, or hold tokens outside the vocabulary."""


class CheckpointError(ModelError):
    """A checkpoint is damaged or belongs to other shards or settings."""


class TextsError(ModelError):
    """A file of texts is missing, damaged, or a row of it holds no text."""


class DivergedError(ModelError):
    """Losses or gradients are no numbers any more, step after step."""


class WeightsError(ModelError):
    """A folder of weights or vocabulary is missing, damaged or of an unsupported kind."""
