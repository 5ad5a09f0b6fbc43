"""What can go wrong in the infrastructure room.

InfraError              anything a user can mend; its message says what, where and how
├── StoreError          the store's folder cannot be used, or no artifact answers to a name
├── CorruptArtifact     a finished artifact's files are not what its manifest says
├── LeaseHeld           another live run writes this artifact
├── ProfileError        a profile is missing, is not TOML or holds an unknown key
├── StageFailed         a stage refused its input; the message is the stage's own
└── ChildDied           a child process was killed, ran out of memory or time (transient)

Stopped                 the user or a signal asked the run to stop; not an error of anything
"""


class InfraError(Exception):
    """Base of the room's errors."""


class StoreError(InfraError):
    """The store cannot be used as asked."""


class CorruptArtifact(InfraError):  # noqa: N818  the name says what it is
    """Files of a finished artifact are missing or differ from its manifest."""


class LeaseHeld(InfraError):  # noqa: N818
    """Another live run writes this artifact."""


class ProfileError(InfraError):
    """A profile cannot be used."""


class StageFailed(InfraError):  # noqa: N818
    """A stage refused its input or failed; trying again would give the same."""


class ChildDied(InfraError):  # noqa: N818
    """A child process ended without an answer; trying again may help."""


class Stopped(Exception):  # noqa: N818
    """The run was asked to stop."""
