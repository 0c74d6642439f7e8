"""The networks: upstreams, poolings, heads."""
