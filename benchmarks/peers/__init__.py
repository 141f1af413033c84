"""crossette beside llama-server: the workloads, the two servers, and the page that is made of the runs."""
