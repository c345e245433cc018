"""Where the desired state comes from: commits of Git repositories, and what says that there is a new one."""
