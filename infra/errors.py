"""What can go wrong in the infrastructure room, and what is said of the file system's errors.

InfraError              anything a user can mend; its message says what, where and how
├── StoreError          the store's folder cannot be used, or no artifact answers to a name
├── CorruptArtifact     a finished artifact's files are not what its manifest says
│   └── OtherFormat     ... or are of another version of this project; they must not be touched
├── OtherVersions       an artifact was made with other versions of packages than are installed
├── LeaseHeld           another live run writes this artifact
├── LeaseLost           the lease on an artifact lapsed and another run has it
├── StoreUnreachable    object storage did not do as asked, however often (transient)
├── ProfileError        a profile is missing, is not TOML or holds an unknown key
├── GateClosed          a stage's figures are not what the profile expects; what was made is kept
├── DiskLow             the store's disk has not enough room for what is to come
├── StageFailed         a stage refused its input; the message is the stage's own
└── ChildDied           a child process was killed, ran out of memory or time (transient)

Stopped                 the user or a signal asked the run to stop; not an error of anything
"""

import errno


class InfraError(Exception):
    """Base of the room's errors."""


class StoreError(InfraError):
    """The store cannot be used as asked."""


class CorruptArtifact(InfraError):  # noqa: N818  the name says what it is
    """Files of a finished artifact are missing or differ from its manifest."""


class OtherFormat(CorruptArtifact):
    """A manifest is written in a format of another version of this project."""


class OtherVersions(InfraError):  # noqa: N818
    """An artifact was made with other versions of what its bytes depend on."""


class LeaseHeld(InfraError):  # noqa: N818
    """Another live run writes this artifact."""


class LeaseLost(InfraError):  # noqa: N818
    """The lease on an artifact lapsed while it was being made, and another run may have it."""


class StoreUnreachable(InfraError):  # noqa: N818
    """Object storage did not answer as it should; trying again later may help."""


class ProfileError(InfraError):
    """A profile cannot be used."""


class GateClosed(InfraError):  # noqa: N818
    """A stage's figures are not what the profile expects."""


class DiskLow(InfraError):  # noqa: N818
    """The store's disk has not enough room; what is done is kept."""


class StageFailed(InfraError):  # noqa: N818
    """A stage refused its input or failed; trying again would give the same."""


class ChildDied(InfraError):  # noqa: N818
    """A child process ended without an answer; trying again may help."""


class Stopped(Exception):  # noqa: N818
    """The run was asked to stop."""


def explain_os_error(error: OSError, where: object) -> str | None:
    """What to tell a user of a full disk or a path that cannot be used; None of other errors.

    Args:
        error: what was raised.
        where: what was written, in case the error does not name it.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: {error.filename or where} could not be written; free some space "
            "and give the same command again, it goes on from here"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename}: {error.strerror}; mend its permissions and run again"
    return None
