"""`crossette status`: the status of a running server."""
