"""Show it: the HTTP API and the dashboard, over whatever store can answer."""
