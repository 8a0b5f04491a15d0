"""Partial models of the objects that cozydrivers reads, one module per API group.

They hold the fields that are used and ignore the rest; `KubeObject.raw` keeps the whole object.
"""
