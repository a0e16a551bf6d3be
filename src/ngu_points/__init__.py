"""Exact, explainable points for holders and stakers of an on-chain collection."""

__version__ = "0.1.0"
