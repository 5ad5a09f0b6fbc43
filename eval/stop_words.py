"""English function words: the stop-word filter of LAMBADA's `paper` variant.

The paper says only that a stop-word filter was used, "as an approximation" to asking for a word
that can end a passage. This list is ours, by word class; its name goes into the protocol.
"""

STOP_WORDS_NAME = "function-words/1"

_ARTICLES = "a an the"
_PRONOUNS = (
    "i you he she it we they me him her us them my your his its our their mine yours hers ours"
    " theirs myself yourself himself herself itself ourselves yourselves themselves"
)
_POINTERS = "this that these those who whom whose which what"
_CONJUNCTIONS = "and but or nor if because as until while although though unless whether than so"
_PREPOSITIONS = (
    "of at by for with about against between into onto through during before after above below to"
    " from up down in out on off over under upon toward towards without within"
)
_AUXILIARIES = (
    "am is are was were be been being have has had having do does did doing will would shall should"
    " can could may might must"
)
_ADVERBS = (
    "again further then once here there when where why how all any both each few more most other"
    " some such no not only own same too very just now also"
)

_CLASSES = (
    _ARTICLES,
    _PRONOUNS,
    _POINTERS,
    _CONJUNCTIONS,
    _PREPOSITIONS,
    _AUXILIARIES,
    _ADVERBS,
)

STOP_WORDS: tuple[str, ...] = tuple(" ".join(_CLASSES).split())
"""Lower-case words that are not taken for the last word of a passage."""
