"""The rule sets that there are, by the name of their section, in the order in which they judge."""

from webtext.quality import RuleSet
from webtext.quality_c4 import C4Quality
from webtext.quality_fineweb import FineWebQuality
from webtext.quality_gopher import GopherQuality
from webtext.quality_repetition import GopherRepetition

RULE_SETS: dict[str, type[RuleSet]] = {
    "gopher_quality": GopherQuality,
    "gopher_repetition": GopherRepetition,
    "c4": C4Quality,
    "fineweb": FineWebQuality,
}
MEASURES = tuple(name for rules in RULE_SETS.values() for name in rules.measures)
"""Everything that a rule set measures: columns of the attributes table."""
