"""The channel: one SSH connection a host that carries the engine, HAProxy and the host's lock."""
