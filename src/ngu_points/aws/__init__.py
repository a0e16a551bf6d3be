"""RUN IT ON AWS: streams, tables, functions."""
