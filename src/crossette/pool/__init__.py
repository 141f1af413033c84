"""Models that are loaded when they are asked for, and unloaded for lack of memory or use."""
