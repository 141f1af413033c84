"""`crossette status`: what a running server is doing."""
