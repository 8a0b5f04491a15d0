"""Seeds that have gone wrong, and what they have found: they are told for ever.

A change of the world gives a seed another story, so what was found has a test of its own as well.
"""

KEPT: dict[int, str] = {
    4: "a Pod had another one's address before that one's status said so: a shard was backed up from the other one",
    37: "the same, and the archive that was made in the wrong place was not removed",
}
