"""Other indexers on the same node, over the same events, held against the same answer."""
