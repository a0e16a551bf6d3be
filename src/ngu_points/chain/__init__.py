"""Read the chain: contract kinds, decoding (pure), JSON-RPC. It reads; it does not follow."""
