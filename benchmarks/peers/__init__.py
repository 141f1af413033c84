"""Compare crossette with llama-server: workloads, servers, and the report."""
