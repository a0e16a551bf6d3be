"""A local chain with traffic, so that the pipeline can be watched without a network."""
