"""Models that other servers run: upstreams that speak the OpenAI API, at text level."""
