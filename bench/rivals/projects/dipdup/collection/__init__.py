"""The package that DipDup indexes with; types and hooks in it are written by `dipdup init`."""
