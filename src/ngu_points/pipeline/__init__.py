"""How events flow: one verb per file, listed in the order of the flow."""
