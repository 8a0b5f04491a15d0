"""Seeds with MariaDB that have gone wrong, and what they have found: they are told for ever.

A change of the world gives a seed another story, so what can be told in a few lines has a test of its own as well.
"""

KEPT: dict[int, str] = {
    645: "a restore that was given up waited for its safety dump, which nobody had stopped",
}
