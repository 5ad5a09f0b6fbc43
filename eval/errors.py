"""What can go wrong in the evaluation room.

EvalError               anything a user can mend; its message says what, where and how
├── MissingBenchmark    no file of a benchmark lies in the folder
├── BenchmarkError      a benchmark's file is empty, broken or of another kind
├── ScorerError         the scored model gave likelihoods of the wrong number or not finite
├── ComparisonError     two models have no scores that can be compared
└── FetchError          a benchmark could not be fetched, or is not what was expected
"""


class EvalError(Exception):
    """Base of the room's errors."""


class MissingBenchmark(EvalError):  # noqa: N818 - it names a state of the folder
    """None of the names a benchmark's file goes by was found."""


class BenchmarkError(EvalError):
    """A benchmark's file is empty, not UTF-8, broken or in another format."""


class ScorerError(EvalError):
    """A scorer broke its promise: wrong number of likelihoods, or one that is not finite."""


class ComparisonError(EvalError):
    """Two models have no score by the same protocol on the same items."""


class FetchError(EvalError):
    """A benchmark could not be fetched, is too large, or is not what was expected."""
