"""One seeded world in one process: a chain, its nodes, a machine that fails, a virtual clock."""
