"""What a bench raises where its figure cannot be measured."""


class Unavailable(Exception):  # noqa: N818
    """The device, peer or data that a bench needs is not here."""
