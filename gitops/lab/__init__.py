"""A real fleet on one machine: hosts with their own network, files, processes and container engine."""
