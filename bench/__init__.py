"""Reproducible measurements of this machine; `python -m bench` runs them."""
