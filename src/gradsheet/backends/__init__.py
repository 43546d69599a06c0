"""Backends run or print a `Program`. They never import each other."""
