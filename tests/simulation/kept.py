"""Seeds that have found something, with what it was: they are told for ever.

A change of the world gives a seed another story. So each kept one stands for a defect that has a test of its own, too,
or says where that is.
"""

KEPT: dict[int, str] = {}
