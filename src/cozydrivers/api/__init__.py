"""Partial models of the objects that cozydrivers reads, one module per API group.

They hold the fields that are used and ignore the rest; a kind that `keeps_raw` has the whole
object as well, in `raw`.
"""
